//! Manual pages and shell completions, as the program prints them.

use std::process::{Command, Output};

fn stuut_cache(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stuut-cache"));
    command.args(arguments).output().expect("the program runs")
}

fn printed(arguments: &[&str]) -> String {
    let output = stuut_cache(arguments);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("text")
}

/// The commands that `--help` names.
fn commands() -> Vec<String> {
    let help = printed(&["--help"]);
    let (_, list) = help.split_once("Commands:\n").expect("a list of commands");
    let lines = list.lines().take_while(|line| !line.is_empty());
    let names = lines.filter_map(|line| line.split_whitespace().next());
    names
        .filter(|name| *name != "help")
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_command_has_a_manual_page_with_all_its_options() {
    let page = printed(&["man"]);
    assert!(page.contains(".TH stuut-cache 1"), "{page}");
    assert!(commands().len() > 5);
    for command in commands() {
        // Hyphens are escaped in roff.
        let name = format!("stuut-cache-{command}");
        assert!(
            page.replace('\\', "").contains(&format!("{name}(1)")),
            "{name}"
        );
        let page = printed(&["man", &command]).replace('\\', "");
        assert!(page.contains(&format!(".TH {name} 1")), "{page}");
        let help = printed(&[&command, "--help"]);
        for option in help
            .split_whitespace()
            .filter(|word| word.starts_with("--"))
        {
            let option = option.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
            assert!(page.contains(option), "{name} lacks {option}: {page}");
        }
    }
    let unknown = stuut_cache(&["man", "nothing"]);
    assert!(!unknown.status.success());
}

#[test]
fn bash_completes_commands_and_options() {
    let complete = |words: &str, current: usize| {
        let script = format!(
            "eval \"$('{}' completions bash)\"; COMP_WORDS=({words}); COMP_CWORD={current}; \
             _stuut_cache stuut-cache \"${{COMP_WORDS[{current}]}}\" \"${{COMP_WORDS[{current}-1]}}\"; \
             echo \"${{COMPREPLY[@]}}\"",
            env!("CARGO_BIN_EXE_stuut-cache")
        );
        let output = Command::new("bash").args(["-c", &script]).output();
        let output = output.expect("bash is installed");
        assert!(
            output.status.success() && output.stderr.is_empty(),
            "{output:?}"
        );
        String::from_utf8(output.stdout)
            .expect("text")
            .trim()
            .to_owned()
    };
    assert_eq!(complete("stuut-cache che", 1), "check");
    assert_eq!(complete("stuut-cache check --up", 2), "--upstream");
    assert_eq!(complete("stuut-cache completions f", 2), "fish");
}

#[test]
fn zsh_and_fish_complete_every_command() {
    for shell in ["zsh", "fish"] {
        let script = printed(&["completions", shell]);
        for command in commands() {
            assert!(script.contains(&command), "{shell} lacks {command}");
        }
    }
}
