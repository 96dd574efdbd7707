//! Links between the documents, and the size of the README.

use std::path::Path;

use regex::Regex;

use super::{documents, path, text};

/// The anchors that GitHub gives the headings of a document.
fn anchors(markdown: &str) -> Vec<String> {
    let headings = markdown.lines().filter(|line| line.starts_with('#'));
    headings
        .map(|heading| {
            let heading = heading.trim_start_matches('#').trim().to_lowercase();
            let kept = heading
                .chars()
                .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
            kept.collect::<String>().replace(' ', "-")
        })
        .collect()
}

#[test]
fn every_relative_link_leads_to_a_file_and_a_heading() {
    let link = Regex::new(r"\]\(([^)# ]*)(?:#([^) ]*))?\)").expect("a pattern");
    for document in documents() {
        let markdown = text(&document);
        for found in link.captures_iter(&markdown) {
            let target = &found[1];
            if target.contains("://") {
                continue;
            }
            let folder = Path::new(&document).parent().expect("a folder");
            let file = if target.is_empty() {
                document.clone()
            } else {
                folder.join(target).display().to_string()
            };
            assert!(path(&file).exists(), "{document}: no {target}");
            if let Some(anchor) = found.get(2) {
                let anchors = anchors(&text(&file));
                let anchor = anchor.as_str().to_owned();
                assert!(
                    anchors.contains(&anchor),
                    "{document}: no {target}#{anchor}"
                );
            }
        }
    }
}

/// The README is for the first five minutes; the rest is in `docs/`.
#[test]
fn the_readme_has_at_most_12_kb_and_links_to_every_page() {
    let readme = text("README.md");
    assert!(readme.len() <= 12_000, "{} bytes", readme.len());
    for page in documents().iter().filter(|page| page.starts_with("docs/")) {
        assert!(readme.contains(&format!("({page})")), "no link to {page}");
    }
}

#[test]
fn every_source_file_and_function_that_is_named_exists() {
    let file =
        Regex::new(r"`((?:src|tests|config|deploy|simulator)/[a-z0-9_./-]+)`").expect("a pattern");
    let row = Regex::new(r"\| `(src/[a-z0-9_/]+\.rs)` \| `([a-z0-9_]+)` \|").expect("a pattern");
    for document in documents() {
        let markdown = text(&document);
        for named in file.captures_iter(&markdown) {
            assert!(path(&named[1]).exists(), "{document}: no {}", &named[1]);
        }
        for row in row.captures_iter(&markdown) {
            let (file, function) = (&row[1], &row[2]);
            let declared = [format!("fn {function}("), format!("fn {function}<")];
            let source = text(file);
            let is_there = declared.iter().any(|start| source.contains(start));
            assert!(is_there, "{document}: {file} has no function {function}");
        }
    }
}
