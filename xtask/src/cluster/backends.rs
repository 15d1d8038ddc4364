//! What the agent sends its spans to: an OpenTelemetry Collector and Grafana Tempo, as images.

use anyhow::Result;

use super::image::{self, Image, copy};
use super::place::Place;
use crate::bed::go::GoProgram;
use crate::bed::install::{Recipe, Source};
use crate::step::Steps;

/// OpenTelemetry Collector 0.144.0 with the parts that its `main.go` names.
const COLLECTOR: Source = Source {
    folder: "xtask/cluster/collector",
    files: &["go.mod", "go.sum", "main.go"],
    programs: &[],
    recipe: Recipe::GoStatic(&[GoProgram { name: "collector", package: ".", flags: "-s -w" }]),
};

/// Grafana Tempo, a commit shortly after 2.8.0: its releases are no versions of its module.
const TEMPO: Source = Source {
    folder: "xtask/cluster/tempo",
    files: &["go.mod", "go.sum"],
    programs: &[],
    recipe: Recipe::GoStatic(&[GoProgram {
        name: "tempo",
        package: "github.com/grafana/tempo/cmd/tempo",
        flags: "-s -w -X main.Version=2.8.0-87c2dc3",
    }]),
};

/// Builds both and imports their images.
pub(crate) fn import(place: &Place, steps: &mut Steps) -> Result<()> {
    for (source, program, tag) in [(COLLECTOR, "collector", "0.144.0"), (TEMPO, "tempo", "2.8")] {
        let built = source.installed(steps)?.join(program);
        let (name, entry) = (format!("wirespan.local/{program}:{tag}"), format!("/{program}"));
        let image = Image { name: &name, entrypoint: &[&entry] };
        image::import(place, &image, "", |root| copy(&built, &root.join(program)))?;
    }
    Ok(())
}
