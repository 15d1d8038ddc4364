//! Architectures of virtual machines.

use crate::packages::Program;

/// What differs between machines by architecture.
#[derive(Debug)]
pub(crate) struct Arch {
    /// What Debian calls it.
    pub(crate) debian: &'static str,
    /// What Rust calls it; programs for it run where this is the machine's own.
    pub(crate) rust: &'static str,
    /// What the agent is built for.
    pub(crate) triple: &'static str,
    /// What emulates it.
    pub(crate) emulator: Program,
    /// How: a machine with a console and with a second serial port, which stands last.
    pub(crate) arguments: &'static [&'static str],
    /// What its kernels must be told.
    pub(crate) boot: &'static str,
    /// The console's device.
    pub(crate) console: &'static str,
    /// The device that the suite reports to.
    pub(crate) report: &'static str,
}

/// 64-bit PCs.
pub(crate) const AMD64: Arch = Arch {
    debian: "amd64",
    rust: "x86_64",
    triple: "x86_64-unknown-linux-gnu",
    emulator: Program { name: "qemu-system-x86_64", package: "qemu-system-x86" },
    arguments: &["-cpu", "max", "-device", "isa-serial,index=1,chardev=report"],
    // On a busy host the emulated timer may be late where the kernel tries it, and the kernel would give up.
    boot: "no_timer_check",
    console: "ttyS0",
    report: "ttyS1",
};

/// 64-bit ARM.
pub(crate) const ARM64: Arch = Arch {
    debian: "arm64",
    rust: "aarch64",
    triple: "aarch64-unknown-linux-gnu",
    emulator: Program { name: "qemu-system-aarch64", package: "qemu-system-arm" },
    arguments: &["-machine", "virt", "-cpu", "cortex-a72", "-device", "pci-serial,chardev=report"],
    boot: "",
    console: "ttyAMA0",
    report: "ttyS0",
};

impl Arch {
    /// Whether its programs run on this machine.
    pub(crate) fn is_ours(&self) -> bool {
        self.rust == std::env::consts::ARCH
    }
}
