//! What the agent is made of, as CycloneDX 1.6: every crate that is linked into it or into the kernel programs that it holds, with
//! version, licence and checksum, and who needs whom. The same lock file gives the same bytes.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::command::{cargo, output};
use crate::workspace;

/// What is linked in: the agent, and the kernel programs that it holds.
const ROOTS: [&str; 2] = ["wirespan", "wirespan-ebpf"];

/// The bill of materials for a target.
pub(super) fn bom(triple: &str) -> Result<Vec<u8>> {
    let text = output(cargo().args(["metadata", "--locked", "--format-version=1", "--filter-platform", triple]))?;
    let metadata: Value = serde_json::from_str(&text).context("cargo metadata is no JSON")?;
    let mut linked = BTreeSet::new();
    for name in ROOTS {
        let mut tree = cargo();
        tree.args(["tree", "--locked", "--edges=normal", "--prefix=none", "--format={p}", "--target", triple]);
        linked.extend(output(tree.args(["--package", name]))?.lines().filter_map(named));
    }
    let lock = workspace::root().join("Cargo.lock");
    let lock = std::fs::read_to_string(&lock).with_context(|| lock.display().to_string())?;
    let mut bytes = serde_json::to_vec_pretty(&describe(&metadata, &linked, &checksums(&lock), triple)?)?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// Name and version in a line such as `aya v0.14.0 (/a/path) (*)`.
fn named(line: &str) -> Option<(String, String)> {
    let mut words = line.split(' ');
    Some((words.next()?.to_owned(), words.next()?.strip_prefix('v')?.to_owned()))
}

/// `metadata` says of each package what it is and whom it may need, with the features of the whole workspace; `linked` says which
/// are really there.
fn describe(
    metadata: &Value,
    linked: &BTreeSet<(String, String)>,
    checksums: &BTreeMap<(String, String), String>,
    triple: &str,
) -> Result<Value> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let packages: BTreeMap<String, Value> =
        list(&metadata["packages"]).into_iter().map(|package| (text(&package["id"]), package)).collect();
    let is_there = |package: &Value| linked.contains(&(text(&package["name"]), text(&package["version"])));
    let needs: BTreeMap<String, Vec<String>> = list(&metadata["resolve"]["nodes"])
        .iter()
        .map(|node| {
            let is_linked = |need: &Value| list(&need["dep_kinds"]).iter().any(|kind| kind["kind"].is_null());
            let needs = list(&node["deps"]).into_iter().filter(is_linked).map(|need| text(&need["pkg"]));
            let needs = needs.filter(|id| packages.get(id).is_some_and(&is_there)).collect();
            (text(&node["id"]), needs)
        })
        .collect();
    let root = |name: &str| {
        let found = packages.iter().find(|(_, package)| package["name"] == name && package["source"].is_null());
        found.map(|(id, _)| id.clone()).with_context(|| format!("cargo metadata has no package {name}"))
    };
    let mut ahead = ROOTS.iter().map(|name| root(name)).collect::<Result<Vec<_>>>()?;
    let agent = ahead.first().cloned().context("there is an agent")?;
    let mut reached = BTreeSet::new();
    while let Some(id) = ahead.pop() {
        if reached.insert(id.clone()) {
            ahead.extend(needs.get(&id).into_iter().flatten().cloned());
        }
    }
    let reference = |id: &str| packages.get(id).map_or_else(String::new, purl);
    let component = |id: &String| {
        let package = packages.get(id)?;
        let (name, version) = (text(&package["name"]), text(&package["version"]));
        let mut component = json!({
            "type": if *id == agent { "application" } else { "library" },
            "bom-ref": purl(package), "name": name, "version": version, "purl": purl(package),
        });
        if let Some(license) = package["license"].as_str() {
            // Crates of old write a slash for "or".
            component["licenses"] = json!([{"expression": license.replace('/', " OR ").replace("  ", " ")}]);
        }
        if let Some(sum) = checksums.get(&(name, version)) {
            component["hashes"] = json!([{"alg": "SHA-256", "content": sum}]);
        }
        Some(component)
    };
    let by_reference = |mut values: Vec<Value>, key: &'static str| {
        values.sort_by_key(|value| value[key].as_str().unwrap_or_default().to_owned());
        values
    };
    let components = reached.iter().filter(|id| **id != agent).filter_map(component).collect();
    let dependencies = reached.iter().map(|id| {
        let mut on: BTreeSet<_> = needs.get(id).into_iter().flatten().map(|need| reference(need)).collect();
        if *id == agent {
            // They are in it as bytes, which cargo does not know.
            on.extend(ROOTS.iter().skip(1).filter_map(|name| root(name).ok()).map(|id| reference(&id)));
        }
        json!({"ref": reference(id), "dependsOn": on})
    });
    Ok(json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": component(&agent),
            "properties": [{"name": "wirespan:target", "value": triple}],
        },
        "components": by_reference(components, "bom-ref"),
        "dependencies": by_reference(dependencies.collect(), "ref"),
    }))
}

fn purl(package: &Value) -> String {
    let text = |key: &str| package[key].as_str().unwrap_or_default();
    // `+` stands for a space in places.
    format!("pkg:cargo/{}@{}", text("name"), text("version").replace('+', "%2B"))
}

/// The checksums of `Cargo.lock`, by name and version.
fn checksums(lock: &str) -> BTreeMap<(String, String), String> {
    lock.split("[[package]]")
        .filter_map(|package| {
            let field = |name: &str| {
                let line = package.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(" = \""))?;
                Some(line.trim_end_matches('"').to_owned())
            };
            Some(((field("name")?, field("version")?), field("checksum")?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_names_what_is_linked_in_and_nothing_else() {
        let bytes = bom("x86_64-unknown-linux-gnu").unwrap();
        assert_eq!(bytes, bom("x86_64-unknown-linux-gnu").unwrap());
        let bom: Value = serde_json::from_slice(&bytes).unwrap();
        let components = bom["components"].as_array().unwrap();
        let named = |name: &str| components.iter().find(|one| one["name"] == name);
        assert_eq!(bom["metadata"]["component"]["name"], "wirespan");
        for name in ["aya", "rustls", "wirespan-ebpf", "aya-ebpf"] {
            assert!(named(name).is_some(), "{name}");
        }
        for name in ["insta", "proptest", "xtask", "windows-sys"] {
            assert!(named(name).is_none(), "{name}");
        }
        let rustls = named("rustls").unwrap();
        assert_eq!(rustls["hashes"][0]["content"].as_str().map(str::len), Some(64));
        assert!(rustls["licenses"][0]["expression"].as_str().unwrap().contains("Apache-2.0"), "{rustls}");
        let references: BTreeSet<_> = components
            .iter()
            .chain([&bom["metadata"]["component"]])
            .map(|one| one["bom-ref"].clone().to_string())
            .collect();
        assert_eq!(references.len(), components.len() + 1, "each is named once");
        for edge in bom["dependencies"].as_array().unwrap() {
            assert!(
                edge["dependsOn"].as_array().unwrap().iter().all(|one| references.contains(&one.to_string())),
                "{edge}"
            );
        }
    }
}
