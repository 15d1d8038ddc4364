//! `cargo xtask test cluster`: brings up the cluster, gives it the images, and runs the suite in `tests/src/bin/cluster`, which
//! installs the chart as anybody would.

use anyhow::{Context, Result};

use super::place::Place;
use super::program::Programs;
use super::{backends, bookinfo, image, up};
use crate::bed::helm::helm;
use crate::command::{cargo, command, run};
use crate::dist::{self, manifests::CHART};
use crate::step::Steps;
use crate::workspace;

/// Runs the checks whose names have one of these parts, all if there are none.
pub(crate) fn test(parts: &[String], steps: &mut Steps) -> Result<()> {
    let place = Place::find()?;
    up(&place, steps)?;
    backends::import(&place, steps)?;
    bookinfo::import(&place, steps)?;
    image::import_archive(&place, &dist::own_image(steps)?)?;
    run(cargo().args(["build", "--locked", "--package=wirespan-tests", "--bin=cluster"]))?;
    let programs = Programs::installed(steps)?;
    let mut suite = command(workspace::target().join("debug/cluster"));
    suite.env("WIRESPAN_CLUSTER", &place.run).env("WIRESPAN_KUBECTL", programs.kubernetes("kubectl"));
    suite.env("WIRESPAN_HELM", helm(steps)?).env("WIRESPAN_CHART", workspace::root().join(CHART));
    suite.env("WIRESPAN_XTASK", std::env::current_exe().context("the path of this program")?);
    run(suite.args(parts))
}
