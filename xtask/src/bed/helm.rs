//! Helm, which installs the chart on a cluster and renders it.

use std::path::PathBuf;

use anyhow::Result;

use super::install::{Recipe, cache};
use crate::command::{command, output, run, which};
use crate::packages;
use crate::step::Steps;

/// The one that the chart is held against.
const VERSION: &str = "3.19.0";

/// The one in `PATH` if it is this version, else built from Go's modules and kept in the cache.
pub(crate) fn helm(steps: &mut Steps) -> Result<PathBuf> {
    let is_it = |helm: &PathBuf| {
        output(command(helm).args(["version", "--short"]))
            .is_ok_and(|text| text.trim().starts_with(&format!("v{VERSION}")))
    };
    if let Some(helm) = which("helm").filter(is_it) {
        return Ok(helm);
    }
    let folder = cache()?.join("helm").join(VERSION);
    let helm = folder.join("helm");
    if !helm.is_file() {
        packages::install(&packages::missing(Recipe::GO), "Helm is built with it", steps)?;
        let package = format!("helm.sh/helm/v3/cmd/helm@v{VERSION}");
        steps.step(&format!("building Helm {VERSION} into {}", folder.display()), || {
            run(command("go").args(["install", &package]).env("GOBIN", &folder).env("CGO_ENABLED", "0"))
        })?;
    }
    Ok(helm)
}
