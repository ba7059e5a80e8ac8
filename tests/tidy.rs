//! The house rules that a machine can check.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The layers of the crate, the lowest first. A module imports from lower layers and from itself.
const LAYERS: [&[&str]; 7] = [
    &["disconnect", "limits", "text", "timer", "value"],
    &["net", "disk", "metrics"],
    &["tls", "store"],
    &["protocol", "access"],
    &["connection"],
    &["services", "server", "load", "client"],
    &["cli"],
];

/// The layers of RESP, the lowest first; `src/services/resp/mod.rs` says what each knows.
const RESP_LAYERS: [&str; 6] = ["description", "state", "call", "commands", "dispatch", "engine"];

/// Lines a source file may have. A file that needs more is two modules.
const LINES: usize = 600;

/// Words that promise work instead of doing it.
const BANNED: [&str; 4] = ["TODO", "FIXME", "XXX:", "HACK"];

#[test]
fn imports_point_down() {
    let mut wrong = Vec::new();
    for file in files("src", "rs") {
        // `testing` is in no layer: only tests and benches import it, and the compiler leaves it out of everything else.
        let Some(module) = root_module_of(&file).filter(|module| module != "testing") else { continue };
        let layer = layer_of(&module).unwrap_or_else(|| panic!("{}: '{module}' is in no layer", file.display()));
        for (number, line) in code_lines(&file) {
            for target in imported_modules(&line) {
                if target != module && layer_of(&target).is_some_and(|below| below >= layer) {
                    wrong.push(format!("{}:{number}: {module} imports {target}", file.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "imports must point down:\n{}", wrong.join("\n"));
}

#[test]
fn layers_of_resp_import_downwards() {
    let folder = Path::new("src/services/resp");
    let layer_of = |file: &Path| {
        let inside = file.strip_prefix(folder).ok()?;
        let first = inside.components().next()?.as_os_str().to_str()?;
        // What stands beside the layers stands above them.
        Some(RESP_LAYERS.iter().position(|layer| *layer == first).unwrap_or(RESP_LAYERS.len()))
    };
    let mut sources = files("src/services/resp", "rs");
    sources.retain(|file| !file.to_string_lossy().contains("differential"));
    let imports = imports_among(&sources);
    assert!(imports.len() > 100, "only {} imports are seen", imports.len());
    let upward: Vec<String> = imports
        .iter()
        .filter(|(file, target)| layer_of(target) > layer_of(file))
        .map(|(file, target)| format!("{} imports {}", file.display(), target.display()))
        .collect();
    assert!(upward.is_empty(), "layers must import downwards:\n{}", upward.join("\n"));
    let circle = circle_among(imports);
    assert!(circle.is_empty(), "these files import each other in a circle, or need one that does: {circle:?}");
}

/// Which of `sources` imports which, by their `use` declarations. Re-exports are left out.
fn imports_among(sources: &[PathBuf]) -> Vec<(PathBuf, PathBuf)> {
    let mut found = Vec::new();
    for file in sources {
        let module = module_of(file);
        let code: Vec<String> = code_lines(file).into_iter().map(|(_, line)| line).collect();
        for declaration in format!("\n{}", code.join("\n")).split("\nuse ").skip(1) {
            let tree = declaration.split(';').next().unwrap_or_default();
            for path in paths_of(tree) {
                let target = absolute(&module, &path);
                let above = sources.iter().filter(|source| target.starts_with(&module_of(source)));
                let nearest = above.max_by_key(|source| module_of(source).len());
                found.extend(nearest.filter(|target| *target != file).map(|target| (file.clone(), target.clone())));
            }
        }
    }
    found
}

/// The files that stay when one that imports nothing is taken away, again and again.
fn circle_among(mut imports: Vec<(PathBuf, PathBuf)>) -> Vec<PathBuf> {
    loop {
        let importing: Vec<PathBuf> = imports.iter().map(|(file, _)| file.clone()).collect();
        let before = imports.len();
        imports.retain(|(_, target)| importing.contains(target));
        if imports.len() == before {
            let mut circle = importing;
            circle.dedup();
            return circle;
        }
    }
}

/// The path of the module that a file is, without the crate.
fn module_of(file: &Path) -> Vec<String> {
    let inside = file.strip_prefix("src").expect("a source").with_extension("");
    let mut path: Vec<String> = inside.iter().map(|part| part.to_str().expect("a name").to_owned()).collect();
    if path.last().is_some_and(|last| last == "mod") {
        path.pop();
    }
    path
}

/// The single paths of the tree in a `use` declaration.
fn paths_of(tree: &str) -> Vec<String> {
    let Some((prefix, rest)) = tree.split_once('{') else {
        return vec![tree.split(" as ").next().unwrap_or_default().trim().to_owned()];
    };
    let list = rest.rsplit_once('}').map_or(rest, |(list, _)| list);
    let (mut depth, mut branches) = (0, vec![String::new()]);
    for c in list.chars() {
        depth += i32::from(c == '{') - i32::from(c == '}');
        if c == ',' && depth == 0 {
            branches.push(String::new());
        } else if let Some(branch) = branches.last_mut() {
            branch.push(c);
        }
    }
    let paths = branches.iter().filter(|branch| !branch.trim().is_empty()).flat_map(|branch| paths_of(branch));
    paths.map(|path| format!("{}{path}", prefix.trim())).collect()
}

/// A path within `module` from the root of the crate; a crate or an item of the module itself is looked for below it.
fn absolute(module: &[String], path: &str) -> Vec<String> {
    let (mut base, mut parts) = (module.to_vec(), path.split("::").peekable());
    if parts.next_if_eq(&"crate").is_some() {
        base.clear();
    }
    parts.next_if_eq(&"self");
    while parts.next_if_eq(&"super").is_some() {
        base.pop();
    }
    base.extend(parts.map(str::to_owned));
    base
}

#[test]
fn absences_hold() {
    // Why each is absent stands in ARCHITECTURE.md.
    let absences: [(&str, &[&str]); 4] = [
        ("src/protocol", &["rustls", "mio", "std::net::Tcp", "std::fs", "std::thread"]),
        ("src/store", &["rustls", "mio", "std::net", "std::fs", "std::thread"]),
        ("src/connection", &["mio", "std::net::Tcp", "std::fs", "std::thread"]),
        ("src/tls", &["mio", "std::net::Tcp", "std::fs", "std::thread"]),
    ];
    let mut wrong = Vec::new();
    for (folder, names) in absences {
        for file in files(folder, "rs") {
            for (number, line) in code_lines(&file) {
                if names.iter().any(|name| line.trim_start().starts_with(&format!("use {name}"))) {
                    wrong.push(format!("{}:{number}: {}", file.display(), line.trim()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "these modules must not know of these things:\n{}", wrong.join("\n"));
}

#[test]
fn only_the_session_drives_tls_connections() {
    for file in files("src", "rs").into_iter().filter(|file| !file.starts_with("src/tls")) {
        let text = fs::read_to_string(&file).expect("source");
        assert!(!text.contains("process_tls_records"), "{} drives a TLS connection", file.display());
    }
}

#[test]
fn one_file_prints() {
    // The macros panic where nothing can be written.
    let marks = ["println!", "print!", "dbg!", "io::stdout", "io::stderr", "stdout()", "stderr()"];
    let mut wrong = Vec::new();
    for file in files("src", "rs").into_iter().filter(|file| !file.ends_with("cli/terminal.rs")) {
        for (number, line) in code_lines(&file) {
            if marks.iter().any(|mark| line.contains(mark)) && !line.contains("use_stderr()") {
                wrong.push(format!("{}:{number}: {}", file.display(), line.trim()));
            }
        }
    }
    assert!(wrong.is_empty(), "only cli/terminal.rs prints:\n{}", wrong.join("\n"));
}

#[test]
fn public_types_have_names_of_their_own() {
    let mut owners = BTreeMap::new();
    let mut doubled = Vec::new();
    for file in files("src", "rs") {
        for (_, line) in code_lines(&file) {
            let kinds = ["pub struct ", "pub enum ", "pub trait ", "pub type "];
            let Some(rest) = kinds.iter().find_map(|kind| line.strip_prefix(kind)) else { continue };
            let name: String = rest.chars().take_while(|c| c.is_alphanumeric()).collect();
            if let Some(owner) = owners.insert(name.clone(), file.clone()) {
                doubled.push(format!("{name}: {} and {}", owner.display(), file.display()));
            }
        }
    }
    assert!(owners.len() > 200, "only {} types were found", owners.len());
    assert!(doubled.is_empty(), "one name, one meaning:\n{}", doubled.join("\n"));
}

#[test]
fn test_names_begin_with_their_subject() {
    // Pronouns that open a clause. A name such as "who_waits_is_told_so" cannot be looked up, because the clause hides the
    // subject.
    const PRONOUNS: [&str; 6] = ["who", "whoever", "whose", "what", "whatever", "which"];
    let mut headless = Vec::new();
    let mut tests = 0;
    for file in ["src", "tests", "examples", "benches"].into_iter().flat_map(|folder| files(folder, "rs")) {
        let text = fs::read_to_string(&file).expect("source");
        let mut lines = text.lines().map(str::trim_start);
        while lines.any(|line| line == "#[test]") {
            tests += 1;
            let Some(name) = lines.by_ref().find_map(|line| line.strip_prefix("fn ")) else { break };
            let first = name.split('_').next().unwrap_or_default();
            if PRONOUNS.contains(&first) {
                headless.push(format!("{}: {name}", file.display()));
            }
        }
    }
    assert!(tests > 700, "only {tests} tests were found");
    assert!(headless.is_empty(), "name what is tested:\n{}", headless.join("\n"));
}

#[test]
fn files_are_short() {
    let mut long = Vec::new();
    for folder in ["src", "tests", "benches", "examples"] {
        for file in files(folder, "rs") {
            let lines = fs::read_to_string(&file).expect("source").lines().count();
            if lines > LINES {
                long.push(format!("{}: {lines} lines", file.display()));
            }
        }
    }
    assert!(long.is_empty(), "over {LINES} lines:\n{}", long.join("\n"));
}

#[test]
fn nothing_is_promised_instead_of_done() {
    let mut found = Vec::new();
    for (folder, kind) in [("src", "rs"), ("benches", "rs"), ("examples", "rs"), (".", "md"), ("docs", "md")] {
        for file in files(folder, kind) {
            for (number, line) in fs::read_to_string(&file).expect("text").lines().enumerate() {
                if BANNED.iter().any(|word| line.contains(word)) {
                    found.push(format!("{}:{}: {line}", file.display(), number + 1));
                }
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn documents_name_symbols_not_line_numbers() {
    for file in files(".", "md").into_iter().chain(files("docs", "md")) {
        for (number, line) in fs::read_to_string(&file).expect("text").lines().enumerate() {
            let mut behind = line.match_indices(".rs:").filter_map(|(at, cite)| line[at + cite.len()..].chars().next());
            assert!(!behind.any(|c| c.is_ascii_digit()), "{}:{}: line numbers rot", file.display(), number + 1);
        }
    }
}

#[test]
fn documents_name_metrics_that_exist() {
    let text_of =
        |folder| -> String { files(folder, "rs").iter().filter_map(|file| fs::read_to_string(file).ok()).collect() };
    let (metrics, info) =
        (names_of_latchkey(&text_of("src/services/admin")), names_of_latchkey(&text_of("src/services/resp")));
    assert!(metrics.len() >= 30 && info.len() >= 10, "{} metrics, {} fields of INFO", metrics.len(), info.len());
    let mut wrong = Vec::new();
    for file in files(".", "md").into_iter().chain(files("docs", "md")) {
        for (number, line) in fs::read_to_string(&file).expect("text").lines().enumerate() {
            let is_field = |name: &String| line.contains("INFO") && info.contains(name);
            let unknown = names_of_latchkey(line).into_iter().filter(|name| !metrics.contains(name) && !is_field(name));
            wrong.extend(unknown.map(|name| format!("{}:{}: {name}", file.display(), number + 1)));
        }
    }
    assert!(wrong.is_empty(), "neither metrics nor, where the line says INFO, fields of it:\n{}", wrong.join("\n"));
}

/// The words in `text` that begin as our metrics and fields of `INFO` do.
fn names_of_latchkey(text: &str) -> Vec<String> {
    let begins = |at: usize| !text[..at].ends_with(|c: char| c.is_alphanumeric() || "_./-".contains(c));
    let found = text.match_indices("latchkey_").filter(|(at, _)| begins(*at));
    found.map(|(at, _)| first_word(&text[at..])).collect()
}

#[test]
fn documents_name_tests_that_exist() {
    let sources: String = ["src", "tests"]
        .iter()
        .flat_map(|folder| files(folder, "rs"))
        .map(|file| fs::read_to_string(file).expect("source"))
        .collect();
    let mut wrong = Vec::new();
    // The page on load names fields of its report, which are as long.
    for file in files(".", "md").into_iter().chain(files("docs", "md")).filter(|file| !file.ends_with("load.md")) {
        for (number, line) in fs::read_to_string(&file).expect("text").lines().enumerate() {
            let words = line.split(|c: char| !(c.is_alphanumeric() || c == '_'));
            let words = words.filter(|word| word.starts_with(|c: char| c.is_ascii_lowercase()));
            let names = words.filter(|word| word.matches('_').count() >= 4 && !word.starts_with("latchkey_"));
            let unknown = names.filter(|name| !line.contains("fn ") && !sources.contains(&format!("fn {name}(")));
            wrong.extend(unknown.map(|name| format!("{}:{}: {name}", file.display(), number + 1)));
        }
    }
    assert!(wrong.is_empty(), "no such test:\n{}", wrong.join("\n"));
}

#[test]
fn every_file_of_tests_is_a_module_that_says_what_is_tested() {
    // A file that `main.rs` does not declare is never compiled, and its tests are never run.
    for binary in ["program", "library"] {
        let folder = format!("tests/{binary}");
        let main = fs::read_to_string(format!("{folder}/main.rs")).expect("the modules");
        let lines: Vec<_> = main.lines().collect();
        for entry in fs::read_dir(&folder).expect("the tests") {
            let path = entry.expect("entry").path();
            let name = path.file_stem().and_then(|name| name.to_str()).expect("a name");
            if path.is_dir() || name == "main" {
                continue;
            }
            let at = lines.iter().position(|line| *line == format!("mod {name};"));
            let at = at.unwrap_or_else(|| panic!("{folder}/main.rs does not declare {name}"));
            assert!(at > 0 && lines[at - 1].starts_with("// "), "{folder}/main.rs does not say what {name} tests");
        }
    }
}

#[test]
fn every_promise_names_tests_that_exist() {
    let text = fs::read_to_string("SECURITY.md").expect("the promises");
    let tables = text.split("|---|---|\n").skip(1);
    let rows: Vec<_> = tables.flat_map(|table| table.lines().take_while(|line| line.starts_with('|'))).collect();
    assert!(rows.len() > 60, "a table is lost");
    let mut promises = HashSet::new();
    for row in rows {
        let [_, promise, tests, _] = row.split('|').collect::<Vec<_>>()[..] else { panic!("not two columns: {row}") };
        assert!(!promise.trim().is_empty(), "nothing is promised: {row}");
        assert!(promises.insert(promise), "promised twice: {row}");
        for group in tests.split(';') {
            let (place, names) = group.trim().split_once(": ").unwrap_or_else(|| panic!("no test is named: {row}"));
            let sources = sources_of(place.trim_matches('`'));
            for name in names.split(", ") {
                // A property has arguments.
                let function = format!("fn {name}(");
                let is_test = |source: &String| {
                    source
                        .split("#[test]")
                        .skip(1)
                        .any(|behind| behind.find("fn ").is_some_and(|at| behind[at..].starts_with(&function)))
                };
                assert!(sources.iter().any(is_test), "{place} has no test {name}");
            }
        }
    }
}

/// The text of a file or a binary of tests, `program/name.rs`, or of a module or a part of one, `module::part`, with all its
/// files.
fn sources_of(place: &str) -> Vec<String> {
    let (folder, stem) = match place.strip_suffix(".rs") {
        Some(name) => ("tests", name.to_string()),
        None => ("src", place.replace("::", "/")),
    };
    let path = format!("{folder}/{stem}");
    let mut found = files(&path, "rs");
    found.extend(["", "_tests"].map(|suffix| PathBuf::from(format!("{path}{suffix}.rs"))));
    found.iter().filter_map(|file| fs::read_to_string(file).ok()).collect()
}

/// The module of the crate root that a file belongs to; `None` for the roots themselves.
fn root_module_of(file: &Path) -> Option<String> {
    let first = file.strip_prefix("src").ok()?.components().next()?.as_os_str().to_str()?;
    (!["lib.rs", "main.rs"].contains(&first)).then(|| first.trim_end_matches(".rs").to_string())
}

fn layer_of(module: &str) -> Option<usize> {
    LAYERS.iter().position(|modules| modules.contains(&module))
}

/// What a line names behind `crate::`.
fn imported_modules(line: &str) -> Vec<String> {
    let mut modules = Vec::new();
    for (at, root) in line.match_indices("crate::") {
        let rest = &line[at + root.len()..];
        match rest.strip_prefix('{') {
            Some(list) => modules.extend(list.split([',', '}']).map(|item| first_word(item.trim()))),
            None => modules.push(first_word(rest)),
        }
    }
    modules
}

fn first_word(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

/// The lines of a file that are neither comments nor unit tests, with their numbers.
fn code_lines(file: &Path) -> Vec<(usize, String)> {
    let of_tests = file.components().any(|part| {
        let part = part.as_os_str().to_str().unwrap_or_default();
        matches!(part.trim_end_matches(".rs"), "tests" | "testing")
    });
    if of_tests {
        return Vec::new();
    }
    let text = fs::read_to_string(file).expect("source");
    let lines = text.lines().enumerate().take_while(|(_, line)| *line != "mod tests {");
    lines.filter(|(_, line)| !line.trim_start().starts_with("//")).map(|(n, line)| (n + 1, line.to_string())).collect()
}

/// All files below `folder` with the extension `kind`; of `.` only the files right in it.
fn files(folder: &str, kind: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let Ok(entries) = fs::read_dir(folder) else { return found };
    for path in entries.map(|entry| entry.expect("entry").path()) {
        let path = path.strip_prefix("./").map(Path::to_path_buf).unwrap_or(path);
        if path.is_dir() {
            if folder != "." {
                found.extend(files(path.to_str().expect("name"), kind));
            }
        } else if path.extension().is_some_and(|extension| extension == kind) {
            found.push(path);
        }
    }
    found.sort();
    found
}
