//! The layers of `src/`, bottom up: what a file uses is its own layer's, or lower.
//! Tests may use anything.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::path::{Path, PathBuf};

/// Bottom up; those on one line know nothing of each other. `src/lib.rs` says what
/// each is for.
const LAYERS: [&[&str]; 9] = [
    &["json", "signal"],
    &["status"],
    &["sys", "preset"],
    &["core"],
    &["report", "control"],
    &["config"],
    &["personality", "import"],
    &["supervisor"],
    &["main", "lib", "bin"],
];

/// Where unsafe code may be.
const UNSAFE: [&str; 3] = ["sys/pidfd.rs", "sys/process.rs", "sys/wakes.rs"];

fn height(module: &str) -> usize {
    LAYERS
        .iter()
        .position(|layer| layer.contains(&module))
        .unwrap_or_else(|| panic!("{module} is in no layer"))
}

/// All files below `src/`, relative to it, without tests.
fn files(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("tests") {
            files(&path, found);
        } else if path.extension().is_some_and(|it| it == "rs") {
            found.push(path);
        }
    }
}

/// The code without its comments and its tests.
fn code(file: &Path) -> String {
    let text = fs::read_to_string(file).unwrap();
    let code = text.split("#[cfg(test)]\nmod tests").next().unwrap();
    let lines = code.lines().map(|line| line.split("//").next().unwrap());
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn arrows_point_down() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut all = Vec::new();
    files(&source, &mut all);
    assert!(all.len() > 20, "{all:?}");
    for file in all {
        let name = file.strip_prefix(&source).unwrap();
        let module = name.iter().next().unwrap().to_str().unwrap();
        let module = module.strip_suffix(".rs").unwrap_or(module);
        let code = code(&file);
        for (used, _) in code.match_indices("crate::").map(|(at, path)| {
            let rest = code.get(at + path.len()..).unwrap();
            let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_');
            rest.split_at(end.unwrap())
        }) {
            assert!(
                used == module || height(used) < height(module),
                "{}: {module} uses {used}, which is not below it",
                name.display()
            );
        }
        let has_unsafe = code.contains("unsafe {") || code.contains("#[unsafe(");
        assert!(
            !has_unsafe || UNSAFE.iter().any(|known| name == Path::new(known)),
            "{}: unsafe code",
            name.display()
        );
    }
}
