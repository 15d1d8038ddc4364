//! One suite of behaviours for every kernel: what must be the same wherever the agent runs.
//!
//! Not a test of cargo: it runs in virtual machines that have nothing but this program and what it starts, and on the machine
//! itself (`cargo xtask vm`). It prints a line of JSON for each thing that it finds out; the program that started it makes a
//! table of them. Ends with 0 when it came to its end, whatever it found.
#![allow(clippy::panic, reason = "a failed expectation is a panic; the suite reports it and goes on")]

mod alone;
mod report;
mod scene;
mod shared;

use crate::report::{Outcome, Report};
use crate::scene::{Scene, Start};

fn main() {
    let report = Report::new();
    report.machine();
    match Scene::start() {
        Start::Traces(scene) => {
            report.probes(scene.agent.child().err());
            for behaviour in shared::ALL {
                report.behaviour(behaviour.name, || (behaviour.shows)(&scene));
            }
            report.behaviour(alone::AN_ORDERLY_END, || alone::orderly_end(scene));
            for behaviour in alone::ALL {
                report.behaviour(behaviour.name, || (behaviour.shows)(&()));
            }
        }
        // All rows, so that no cell of the table is a guess.
        Start::Refuses(why) => {
            let names = shared::ALL.iter().map(|behaviour| behaviour.name);
            let names = names.chain([alone::AN_ORDERLY_END]).chain(alone::ALL.iter().map(|behaviour| behaviour.name));
            names.for_each(|name| report.behaviour(name, || Outcome::Verdict(why.clone())));
        }
        Start::Fails(why) => report.behaviour(shared::ALL[0].name, || panic!("{why}")),
    }
    report.end();
}
