//! `cargo xtask test cluster`: brings up the cluster, gives it the images, and runs the suite in `tests/src/bin/cluster`.

use anyhow::{Context, Result};

use super::image::{self, Image};
use super::place::Place;
use super::program::Programs;
use super::{backends, bookinfo, up};
use crate::command::{cargo, command, run};
use crate::step::Steps;
use crate::{build, workspace};

/// The agent's image, as the suite's manifests name it.
const AGENT: &str = "wirespan.local/wirespan:test";

/// Runs the checks whose names have one of these parts, all if there are none.
pub(crate) fn test(parts: &[String], steps: &mut Steps) -> Result<()> {
    let place = Place::find()?;
    up(&place, steps)?;
    backends::import(&place, steps)?;
    bookinfo::import(&place, steps)?;
    build::build(steps)?;
    import_agent(&place)?;
    run(cargo().args(["build", "--locked", "--package=wirespan-tests", "--bin=cluster"]))?;
    let programs = Programs::installed(steps)?;
    let mut suite = command(workspace::target().join("debug/cluster"));
    suite.env("WIRESPAN_CLUSTER", &place.run).env("WIRESPAN_KUBECTL", programs.kubernetes("kubectl"));
    suite.env("WIRESPAN_XTASK", std::env::current_exe().context("the path of this program")?);
    run(suite.args(parts))
}

fn import_agent(place: &Place) -> Result<()> {
    let agent = workspace::agent();
    let bytes = std::fs::read(&agent).with_context(|| agent.display().to_string())?;
    let image = Image { name: AGENT, entrypoint: &["/usr/bin/wirespan"] };
    image::import(place, &image, &image::sha256(&bytes), |root| {
        bookinfo::copy_with_libraries(&agent, &root.join("usr/bin/wirespan"), root)
    })
}
