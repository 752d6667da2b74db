// SPDX-License-Identifier: Apache-2.0
//! The commands in README.md and in the guide work as they stand.
//!
//! A page is a session: its blocks of shell are run in order. Comments of the markdown, which no reader sees rendered, tell what
//! is different: `<!-- test: setup`, with lines that make what the page speaks of, and before a block `<!-- test: not run, WHY -->`.

use std::fmt::Write as _;
use std::path::Path;

use crate::registry::Registry;
use crate::support::Env;

/// A page of the documentation.
fn page(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// The names of the pages of the guide.
fn guide() -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/guide");
    let names = std::fs::read_dir(folder)
        .expect("guide")
        .map(|entry| entry.expect("entry").file_name());
    let mut names: Vec<String> = names
        .map(|n| format!("docs/guide/{}", n.to_str().expect("utf-8")))
        .collect();
    names.sort();
    names
}

/// The session of a page as a script.
fn session(page: &str) -> String {
    let mut script = String::new();
    let mut skip = false;
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        let mut take_until = |end: &str, take: bool| {
            for line in lines.by_ref().take_while(|line| *line != end) {
                if take {
                    let _ = writeln!(script, "{line}");
                }
            }
        };
        match line {
            "<!-- test: setup" => take_until("-->", true),
            "```sh" => take_until("```", !std::mem::take(&mut skip)),
            _ if line.starts_with("```") => take_until("```", false),
            _ if line.starts_with("<!-- test: not run, ") => skip = true,
            _ => {}
        }
    }
    script
}

/// Runs a script in an empty directory, with the program that is tested before all others.
fn run(name: &str, script: &str) {
    run_in(&Env::new(), name, script);
}

/// As [`run`], in a room with settings of its own.
fn run_in(env: &Env, name: &str, script: &str) {
    let mut script = script.to_owned();
    if !rustix::process::geteuid().is_root() {
        // As the pages say.
        script = script.replace("umoci unpack --image", "umoci unpack --rootless --image");
    }
    env.write(
        "room/script",
        format!("PATH=$HOME/bin:$PATH\nmkdir work; cd work\n{script}"),
    );
    env.sh(&format!(
        "mkdir bin; ln -s {} bin/umoci",
        env!("CARGO_BIN_EXE_umoci")
    ));
    let out = env.run("/bin/bash", ["-euxo", "pipefail", "room/script"]);
    assert_eq!(
        out.code,
        Some(0),
        "{name}: the last of these lines failed\n{}",
        out.stderr
    );
}

#[test]
fn the_tour_of_the_readme_runs_from_nothing() {
    let readme = page("README.md");
    let (_, tour) = readme.split_once("## A short tour").expect("tour");
    let script = session(tour);
    assert!(
        script.lines().count() > 20 && script.contains("umoci fsck"),
        "{script}"
    );
    run("README.md", &script);
}

#[test]
fn every_page_of_the_guide_is_a_session_that_runs() {
    let mut run_lines = 0;
    for name in guide() {
        if WITH_REGISTRY.contains(&name.as_str()) {
            continue;
        }
        let script = session(&page(&name));
        run_lines += script.lines().filter(|line| line.contains("umoci ")).count();
        if !script.is_empty() {
            run(&name, &script);
        }
    }
    assert!(run_lines > 60, "{run_lines}");
}

/// The pages that need a registry.
const WITH_REGISTRY: [&str; 2] = ["docs/guide/registries.md", "docs/guide/shared-cache.md"];

#[test]
#[ignore = "needs docker-registry: run by tests/all.sh"]
fn pages_on_registries_run_with_one() {
    for name in WITH_REGISTRY {
        let env = Env::new();
        let registry = Registry::start(&env, "");
        // All hosts of the page are that registry.
        let mut settings = String::new();
        for (number, host) in ["docker.io", "registry.example", "mirror.example"]
            .iter()
            .enumerate()
        {
            let location = registry.name(&format!("host{number}"));
            let _ = writeln!(
                settings,
                "[[registry]]\nprefix = \"{host}\"\nlocation = \"{location}\""
            );
        }
        env.write(".config/containers/registries.conf", settings);
        run_in(&env, name, &session(&page(name)));
    }
}

#[test]
fn few_blocks_are_not_run_and_all_are_of_a_known_language() {
    let pages: Vec<(String, String)> = guide()
        .into_iter()
        .map(|name| (name.clone(), page(&name)))
        .collect();
    let skipped: usize = pages
        .iter()
        .map(|(_, text)| text.matches("<!-- test: not run, ").count())
        .sum();
    assert!(skipped <= 3, "{skipped}");
    for (name, text) in pages {
        for fence in text.lines().filter(|line| line.starts_with("```")) {
            assert!(
                ["```", "```sh", "```rust", "```rust,no_run"].contains(&fence),
                "{name}: {fence}"
            );
        }
    }
}

#[test]
fn the_manual_names_the_files_of_a_layout_that_outlive_a_command() {
    let format = page("docs/format.md");
    let rows = format.lines().filter_map(|line| line.strip_prefix("| `.umoci/"));
    let names: Vec<&str> = rows
        .filter_map(|row| row.split(['/', '`']).next())
        .filter(|name| !name.ends_with("lock") && !name.ends_with("damaged") && !name.ends_with("open"))
        .collect();
    assert!(names.contains(&"used") && names.len() > 5, "{names:?}");
    let env = Env::new();
    env.umoci(["man", "."]).ok();
    let manual = env.read("umoci.1");
    for name in names {
        assert!(manual.contains(&format!("/.umoci/{name}")), "{name}");
    }
}

/// Commands in running text, from `umoci` to the closing backtick.
fn inline_commands(page: &str) -> Vec<String> {
    let outside: String = page.split("```").step_by(2).collect();
    let spans = outside.split('`').skip(1).step_by(2).map(str::to_owned);
    spans.filter(|span| span.starts_with("umoci ")).collect()
}

#[test]
fn commands_in_running_text_exist_with_their_options() {
    let env = Env::new();
    let mut names = guide();
    names.extend(
        [
            "README.md",
            "docs/security.md",
            "docs/format.md",
            "docs/performance.md",
        ]
        .map(str::to_owned),
    );
    for name in names {
        for command in inline_commands(&page(&name)) {
            let words = command.split_whitespace().skip(1);
            let is_name = |word: &&str| {
                word.chars().all(|c| c.is_ascii_lowercase() || c == '-') && !word.starts_with('-')
            };
            let mut called: Vec<&str> = words.clone().take_while(is_name).collect();
            // What follows the name of a command may be an operand.
            let help = loop {
                let out = env.umoci(called.iter().copied().chain(["--help"]));
                if out.code == Some(0) {
                    break out.ok();
                }
                assert!(called.pop().is_some(), "{name}: {command}");
            };
            for option in words.filter(|word| word.starts_with("--") && *word != "--help") {
                let option = option.split('=').next().expect("option");
                assert!(
                    help.contains(&format!("{option} ")),
                    "{name}: {command}: {option}"
                );
            }
        }
    }
}
