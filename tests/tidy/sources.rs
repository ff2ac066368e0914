//! The files of the project, and which of their lines are test code.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// Folders whose content is ours but not source.
const NOT_SOURCE: &[&str] = &[".git", "target", "corpus", "artifacts", "seeds", "bin"];

/// The folder of the root `Cargo.toml`.
pub(crate) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// One text file.
pub(crate) struct Source {
    /// Below the root, with `/` between the parts.
    pub(crate) path: String,
    pub(crate) text: String,
    /// Lines from this one on, counted from 1, are test code.
    tests_from: usize,
}

impl Source {
    pub(crate) fn new(path: &str, text: &str) -> Self {
        let tests_from = if is_test_path(path) {
            1
        } else {
            first_test_line(text)
        };
        Self {
            path: path.to_owned(),
            text: text.to_owned(),
            tests_from,
        }
    }

    /// The lines, counted from 1.
    pub(crate) fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text
            .lines()
            .enumerate()
            .map(|(above, line)| (above + 1, line))
    }

    pub(crate) fn is_test(&self, line: usize) -> bool {
        line >= self.tests_from
    }

    /// What the compiler sees outside of tests: comment lines and test code are empty lines.
    pub(crate) fn code(&self) -> String {
        let mut code = String::new();
        for (line, text) in self.lines() {
            if !self.is_test(line) && !text.trim_start().starts_with("//") {
                code.push_str(text.split(" // ").next().unwrap_or_default());
            }
            code.push('\n');
        }
        code
    }

    pub(crate) fn finding(&self, line: usize, what: String, mend: &str) -> Finding {
        Finding {
            path: self.path.clone(),
            line,
            what,
            mend: mend.to_owned(),
        }
    }
}

fn is_test_path(path: &str) -> bool {
    path.split('/')
        .any(|part| part == "tests" || part == "benches")
        || path.starts_with("store/src/conformance")
}

/// `mod tests` stands last in a file, so that everything below its attribute is test code.
fn first_test_line(text: &str) -> usize {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    for (above, line) in lines.iter().enumerate() {
        let module = lines[above + 1..]
            .iter()
            .find(|next| !next.starts_with("#["));
        if line.starts_with("#[cfg(test)]")
            && module.is_some_and(|next| next.starts_with("mod ") && next.ends_with('{'))
        {
            return above + 1;
        }
    }
    usize::MAX
}

/// The files that `#[cfg(test)] mod name;` makes test code.
fn test_modules(sources: &[Source]) -> BTreeSet<String> {
    let mut modules = BTreeSet::new();
    for source in sources {
        let folder = match source.path.strip_suffix(".rs") {
            Some(stem)
                if ["lib", "main", "mod"]
                    .iter()
                    .any(|root| stem.ends_with(root)) =>
            {
                stem.rsplit_once('/').map_or("", |(folder, _)| folder)
            }
            Some(stem) => stem,
            None => continue,
        };
        let lines: Vec<&str> = source.text.lines().map(str::trim).collect();
        for pair in lines
            .windows(2)
            .filter(|pair| pair[0].starts_with("#[cfg(test)]"))
        {
            if let Some(name) = pair[1]
                .strip_prefix("mod ")
                .and_then(|m| m.strip_suffix(';'))
            {
                modules.insert(format!("{folder}/{name}.rs"));
                modules.insert(format!("{folder}/{name}/mod.rs"));
            }
        }
    }
    modules
}

/// Every Rust source of the workspace and of `fuzz/`.
pub(crate) fn rust() -> Vec<Source> {
    let mut sources = with_suffix(&[".rs"]);
    let modules = test_modules(&sources);
    for source in sources
        .iter_mut()
        .filter(|source| modules.contains(&source.path))
    {
        source.tests_from = 1;
    }
    sources
}

/// Every file whose name ends in one of these, in the order of their paths.
pub(crate) fn with_suffix(suffixes: &[&str]) -> Vec<Source> {
    let mut found = Vec::new();
    walk(&root(), &mut |path| {
        let relative = path
            .strip_prefix(root())
            .unwrap()
            .to_str()
            .expect("our names are ASCII");
        if suffixes.iter().any(|suffix| relative.ends_with(suffix)) {
            let text = fs::read_to_string(path)
                .unwrap_or_else(|error| panic!("{relative}: cannot be read: {error}"));
            found.push(Source::new(&relative.replace('\\', "/"), &text));
        }
    });
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn walk(folder: &Path, visit: &mut impl FnMut(&Path)) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap_or_default();
        if path.is_dir() {
            if !NOT_SOURCE.contains(&name) {
                walk(&path, visit);
            }
        } else {
            visit(&path);
        }
    }
}

/// Something that is wrong, and how to mend it.
pub(crate) struct Finding {
    pub(crate) path: String,
    pub(crate) line: usize,
    pub(crate) what: String,
    pub(crate) mend: String,
}

/// Fails with all of the findings, if there are any.
pub(crate) fn settle(findings: &[Finding]) {
    let mut report = String::new();
    for Finding {
        path,
        line,
        what,
        mend,
    } in findings
    {
        write!(report, "\n{path}:{line}: {what}\n    mend: {mend}").unwrap();
    }
    assert!(findings.is_empty(), "{} to mend:{report}", findings.len());
}

#[test]
fn everything_below_the_test_module_is_test_code() {
    let source = Source::new("x/src/a.rs", "fn f() {}\n#[cfg(test)]\nmod tests {\n}\n");
    assert!(!source.is_test(1) && source.is_test(2) && source.is_test(4));
    let source = Source::new(
        "x/src/a.rs",
        "#[cfg(test)]\nfn f() {}\n// Spec: A-1\nfn g() {}",
    );
    assert!(!source.is_test(4));
    assert_eq!(source.code(), "#[cfg(test)]\nfn f() {}\n\nfn g() {}\n");
    assert!(Source::new("x/tests/a.rs", "fn f() {}").is_test(1));
}

#[test]
fn a_module_declared_for_tests_is_test_code() {
    let parent = Source::new("x/src/a.rs", "#[cfg(test)]\nmod table;\n");
    assert!(test_modules(&[parent]).contains("x/src/a/table.rs"));
    let parent = Source::new("x/src/lib.rs", "#[cfg(test)]\nmod table;\n");
    assert!(test_modules(&[parent]).contains("x/src/table.rs"));
}
