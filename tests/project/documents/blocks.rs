//! The fenced code blocks of a Markdown file.

/// One fenced block.
#[derive(Debug)]
pub(super) struct Block {
    /// Where it begins: the number of its opening fence's line.
    pub(super) line: usize,
    /// What follows the opening fence, e.g. `console`.
    pub(super) language: String,
    /// The HTML comment on the line before it, without its delimiters.
    pub(super) note: Option<String>,
    pub(super) text: String,
}

/// Every fenced block, in order.
pub(super) fn blocks(markdown: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut before = "";
    let mut lines = markdown.lines().enumerate();
    while let Some((index, line)) = lines.next() {
        if let Some(language) = line.trim_start().strip_prefix("```") {
            let inside = lines
                .by_ref()
                .map(|(_, line)| line)
                .take_while(|line| line.trim_start() != "```");
            let note = before.strip_prefix("<!-- ");
            blocks.push(Block {
                line: index + 1,
                language: language.to_owned(),
                note: note
                    .and_then(|note| note.strip_suffix(" -->"))
                    .map(str::to_owned),
                text: inside.flat_map(|line| [line, "\n"]).collect(),
            });
        }
        before = line;
    }
    blocks
}
