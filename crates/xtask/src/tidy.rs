//! The rules of the tree that no compiler checks: who may depend on whom, that ARCHITECTURE.md
//! names what exists, which licences may come in. Rules of single files are in `sources.rs`, that of
//! the numbered tests in `scenarios.rs`.

use crate::{problems, scenarios::Scenarios, sources};
use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use std::{collections::BTreeSet, io::Write as _, path::Path, process::Command};

/// The arrows: the folder under `crates/` and the ones it may use. `bin/*` may use any library and
/// `cli`.
const ARROWS: &[(&str, &[&str])] = &[
    ("units", &[]),
    ("ondisk", &["units"]),
    ("blockdev", &["units"]),
    ("extent", &["ondisk", "units"]),
    ("dir", &["ondisk", "units"]),
    ("jbd2", &["blockdev", "ondisk", "units"]),
    ("fs", &["blockdev", "dir", "extent", "jbd2", "ondisk", "units"]),
    ("dio", &["blockdev", "extent", "fs", "ondisk", "units"]),
    ("lab", &["blockdev", "dio", "fs", "units"]),
    ("check", &["blockdev", "dir", "extent", "jbd2", "ondisk", "units"]),
    ("tree", &[]),
    ("mkfs", &["blockdev", "dir", "extent", "ondisk", "tree", "units"]),
    ("cli", &[]),
    ("testkit", &["blockdev", "ondisk", "units"]),
    ("fuzz", &["blockdev", "check", "fs", "jbd2", "mkfs", "ondisk", "tree", "units"]),
    ("xtask", &["check", "cli"]),
];

/// Crates from outside that have a home, and the folders where they may be used. The others are
/// free; none of this binds tests.
const HOMES: &[(&str, &[&str])] = &[
    ("anyhow", &["testkit", "xtask"]),
    ("clap", &["bin", "cli", "xtask"]),
    ("clap_complete", &["xtask"]),
    ("clap_mangen", &["xtask"]),
    ("crc32c", &["ondisk"]),
    ("flate2", &["bin", "tree"]),
    ("indicatif", &["cli"]),
    ("liblzma", &["tree"]),
    ("proptest", &[]),
    ("roff", &["xtask"]),
    ("rustix", &["bin", "blockdev", "testkit", "tree"]),
    ("serde", &["bin", "cli", "lab", "testkit"]),
    ("serde_json", &["bin", "cli", "testkit", "xtask"]),
    ("signal-hook", &["cli"]),
    ("tar", &["tree"]),
    ("tempfile", &["bin", "testkit", "tree"]),
    ("trycmd", &[]),
];

/// Checks everything; prints what is worth a look, fails with what is broken.
pub(crate) fn run(root: &Path) -> Result<()> {
    for remark in sources::long_files(root)? {
        let _ = writeln!(std::io::stderr(), "worth a look: {remark}");
    }
    let broken = broken(root)?;
    if !broken.is_empty() {
        bail!("{} broken rules:\n{}", broken.len(), broken.join("\n"));
    }
    Ok(())
}

fn broken(root: &Path) -> Result<Vec<String>> {
    let metadata = metadata(root)?;
    let mut broken = arrows(&metadata, root)?;
    broken.extend(licenses(&metadata, &std::fs::read_to_string(root.join("deny.toml"))?)?);
    broken.extend(headings(root)?);
    broken.extend(Scenarios::of(root)?.broken());
    broken.extend(sources::broken(root)?);
    broken.extend(problems::broken(root)?);
    Ok(broken)
}

/// What cargo knows, of the host's platform only: the rest is never downloaded.
fn metadata(root: &Path) -> Result<Value> {
    let version = output(Command::new("rustc").arg("-vV"))?;
    let host = version
        .lines()
        .find_map(|it| it.strip_prefix("host: "))
        .context("rustc -vV names no host")?;
    let text = output(
        Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
            .args(["metadata", "--format-version", "1", "--filter-platform", host])
            .current_dir(root),
    )?;
    Ok(serde_json::from_str(&text)?)
}

fn output(command: &mut Command) -> Result<String> {
    let out = command.output().with_context(|| format!("{command:?}"))?;
    if !out.status.success() {
        bail!("{command:?}: {}", String::from_utf8_lossy(&out.stderr));
    }
    Ok(String::from_utf8(out.stdout)?)
}

/// The folders a package lies in: (`crates` or `bin`, its own), when it is ours.
fn place<'a>(package: &'a Value, root: &Path) -> Option<(&'a str, &'a str)> {
    let path = Path::new(package["manifest_path"].as_str()?).strip_prefix(root).ok()?;
    let mut parts = path.iter().filter_map(|it| it.to_str());
    Some((parts.next()?, parts.next()?))
}

fn packages(metadata: &Value) -> Result<&Vec<Value>> {
    metadata["packages"].as_array().context("cargo metadata has no packages")
}

fn arrows(metadata: &Value, root: &Path) -> Result<Vec<String>> {
    let mut broken = Vec::new();
    for package in packages(metadata)? {
        let Some((kind, folder)) = place(package, root) else { continue };
        let allowed = ARROWS.iter().find(|(it, _)| *it == folder && kind == "crates");
        if kind == "crates" && allowed.is_none() {
            broken.push(format!("crates/{folder}: not in the table of arrows"));
        }
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            if dependency["kind"] == "dev" {
                continue;
            }
            let name = dependency["name"].as_str().unwrap_or_default();
            let ours = dependency["path"].as_str().map(Path::new);
            if let Some(path) = ours {
                let to = path.file_name().and_then(|it| it.to_str()).unwrap_or_default();
                let to_bin = path.parent() == Some(&root.join("bin"));
                let fine = match (kind, allowed) {
                    ("bin", _) => !to_bin && !["testkit", "xtask"].contains(&to),
                    (_, Some((_, to_any))) => to_any.contains(&to) || (folder == "xtask" && to_bin),
                    (_, None) => false,
                };
                if !fine {
                    broken.push(format!("{kind}/{folder}: must not depend on {name}"));
                }
            } else if let Some((_, homes)) = HOMES.iter().find(|(it, _)| *it == name) {
                let here = if kind == "bin" { "bin" } else { folder };
                if !homes.contains(&here) {
                    broken.push(format!("{kind}/{folder}: {name} is at home in {homes:?} only"));
                }
            }
        }
    }
    Ok(broken)
}

/// Every licence that comes in is on the list of `deny.toml`, which is the only list.
fn licenses(metadata: &Value, deny: &str) -> Result<Vec<String>> {
    let list = deny.split_once("allow = [").and_then(|(_, it)| it.split_once(']'));
    let (list, _) = list.context("deny.toml has no list of licences")?;
    let allowed: Vec<_> =
        list.split(',').map(|it| it.trim().trim_matches('"')).filter(|it| !it.is_empty()).collect();
    let mut broken = Vec::new();
    for package in packages(metadata)? {
        let license = package["license"].as_str().unwrap_or("none stated");
        if !is_allowed(license, &allowed) {
            broken.push(format!("{}: licence {license} is not on the list", package["name"]));
        }
    }
    Ok(broken)
}

/// Whether one of the alternatives is wholly on the list. Brackets are taken as blanks, which errs
/// on the strict side for `(A OR B) AND C` only when C alone is not on the list.
fn is_allowed(license: &str, allowed: &[&str]) -> bool {
    let one = |it: &str| allowed.contains(&it.trim_matches([' ', '(', ')']));
    let all = |it: &str| it.split(" AND ").all(one);
    if license.contains(") AND ") || license.contains(" AND (") {
        return license
            .split(" AND ")
            .all(|it| it.trim_matches([' ', '(', ')']).split(" OR ").any(one));
    }
    license.replace('/', " OR ").split(" OR ").any(all)
}

/// ARCHITECTURE.md has one heading for each crate and each program, and no other of that kind.
fn headings(root: &Path) -> Result<Vec<String>> {
    let text = std::fs::read_to_string(root.join("ARCHITECTURE.md")).context("ARCHITECTURE.md")?;
    let told: BTreeSet<String> = text
        .lines()
        .filter_map(|it| it.strip_prefix("### "))
        .filter(|it| it.starts_with("crates/") || it.starts_with("bin/"))
        .map(ToOwned::to_owned)
        .collect();
    let mut real = BTreeSet::new();
    for kind in ["crates", "bin"] {
        for entry in std::fs::read_dir(root.join(kind))? {
            real.insert(format!("{kind}/{}", entry?.file_name().to_string_lossy()));
        }
    }
    let missing = real.difference(&told).map(|it| format!("ARCHITECTURE.md has no heading {it}"));
    let gone = told.difference(&real).map(|it| format!("ARCHITECTURE.md tells of {it}, not there"));
    Ok(missing.chain(gone).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_tree_is_tidy() {
        let broken = broken(&crate::root().unwrap()).unwrap();
        assert!(broken.is_empty(), "broken rules:\n{}", broken.join("\n"));
    }

    #[track_caller]
    fn check_arrow(from: &str, to: &str, fine: bool) {
        let metadata = json!({"packages": [{
            "manifest_path": format!("/tree/{from}/Cargo.toml"),
            "dependencies": [{"name": to, "kind": null, "path": format!("/tree/{to}")}],
        }]});
        let broken = arrows(&metadata, Path::new("/tree")).unwrap();
        assert_eq!(broken.is_empty(), fine, "{from} to {to}: {broken:?}");
    }

    #[test]
    fn an_arrow_that_is_not_drawn_is_found() {
        check_arrow("crates/jbd2", "crates/ondisk", true);
        check_arrow("crates/jbd2", "crates/fs", false);
        check_arrow("crates/ondisk", "crates/blockdev", false);
        check_arrow("crates/fs", "crates/cli", false);
        check_arrow("crates/new", "crates/units", false);
        check_arrow("bin/debug", "crates/fs", true);
        check_arrow("bin/debug", "crates/testkit", false);
        check_arrow("bin/debug", "bin/dio-write", false);
        check_arrow("crates/xtask", "bin/debug", true);
    }

    #[test]
    fn a_guest_outside_its_home_is_found() {
        let metadata = json!({"packages": [{
            "manifest_path": "/tree/crates/fs/Cargo.toml",
            "dependencies": [{"name": "anyhow", "kind": null}, {"name": "proptest", "kind": "dev"}],
        }]});
        let broken = arrows(&metadata, Path::new("/tree")).unwrap();
        assert_eq!(broken, ["crates/fs: anyhow is at home in [\"testkit\", \"xtask\"] only"]);
    }

    #[test]
    fn a_licence_is_allowed_when_one_alternative_is() {
        let allowed = ["MIT", "Apache-2.0", "Unicode-3.0"];
        for fine in [
            "MIT",
            "MIT OR GPL-2.0",
            "Apache-2.0/MIT",
            "(MIT OR Apache-2.0) AND Unicode-3.0",
            "MIT AND Apache-2.0",
        ] {
            assert!(is_allowed(fine, &allowed), "{fine}");
        }
        for bad in ["GPL-2.0", "MIT AND GPL-2.0", "(MIT OR Apache-2.0) AND GPL-2.0", "none stated"]
        {
            assert!(!is_allowed(bad, &allowed), "{bad}");
        }
    }
}
