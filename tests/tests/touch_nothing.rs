//! The first promise: nothing is written to packets or processes, and no system call is hooked.

use wirespan_tests::agent::Agent;
use wirespan_tests::harmless;
use wirespan_tests::kernel::{self, Loaded};

fn programs() -> Vec<Loaded> {
    let agent = Agent::start();
    let programs = kernel::programs_of(agent.pid());
    assert!(programs.len() >= 10, "{programs:?}");
    programs
}

#[test]
fn no_program_calls_what_could_change_a_packet_or_a_process() {
    harmless::calls_nothing_else(&programs());
}

#[test]
fn no_system_call_is_hooked() {
    harmless::hooks_no_system_call(&programs());
}
