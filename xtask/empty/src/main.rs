//! Attaches the kernel programs that do nothing, says `ready` on standard error, and ends with its standard input. They go
//! with the process, however it ends. It is a program of its own so that `xtask`, which builds everything else, stays small.

#[cfg(target_os = "linux")]
fn main() -> anyhow::Result<()> {
    let object = std::env::args_os().nth(1);
    linux::run(object.as_ref().map(std::path::Path::new))
}

#[cfg(not(target_os = "linux"))]
fn main() {
    eprintln!("kernel programs can only be attached on Linux");
    std::process::exit(1);
}

#[cfg(target_os = "linux")]
mod linux {
    use std::fs::{self, File};
    use std::io::{self, Read as _};
    use std::path::Path;

    use anyhow::{Context, Result};
    use aya::programs::{BtfTracePoint, CgroupAttachMode, CgroupSkb, CgroupSkbAttachType, Program};
    use aya::{Btf, Ebpf};

    pub(crate) fn run(object: Option<&Path>) -> Result<()> {
        let object = object.context("usage: wirespan-empty-plane OBJECT")?;
        let bytes = fs::read(object).with_context(|| format!("{} cannot be read", object.display()))?;
        let mut ebpf = Ebpf::load(&bytes).with_context(|| format!("{} cannot be loaded", object.display()))?;
        attach(&mut ebpf)?;
        eprintln!("ready");
        io::stdin().read_to_end(&mut Vec::new())?;
        Ok(())
    }

    fn attach(ebpf: &mut Ebpf) -> Result<()> {
        let btf = Btf::from_sys_fs().context("the kernel does not describe its types")?;
        let root = cgroup_root(&fs::read_to_string("/proc/self/mounts")?).context("cgroup v2 is not mounted")?;
        let root = File::open(&root).with_context(|| format!("{root} cannot be opened"))?;
        let read: &mut BtfTracePoint = program(ebpf, "empty_read")?;
        read.load("tcp_rcv_space_adjust", &btf)?;
        read.attach()?;
        for (name, kind) in
            [("empty_egress", CgroupSkbAttachType::Egress), ("empty_ingress", CgroupSkbAttachType::Ingress)]
        {
            let program: &mut CgroupSkb = program(ebpf, name)?;
            program.load()?;
            // With links several programs always coexist; asking for it would be refused.
            program.attach(&root, kind, CgroupAttachMode::Single)?;
        }
        Ok(())
    }

    fn program<'a, P>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut P>
    where
        &'a mut P: TryFrom<&'a mut Program, Error = aya::programs::ProgramError>,
    {
        let program = ebpf.program_mut(name).with_context(|| format!("the object has no program {name}"))?;
        Ok(program.try_into()?)
    }

    /// Where cgroup v2 is mounted.
    fn cgroup_root(mounts: &str) -> Option<String> {
        let mut mounts = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
        mounts.find(|mount| mount.get(2) == Some(&"cgroup2")).map(|mount| mount[1].to_owned())
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn cgroup_v2_is_found_beside_v1() {
            let mounts = "cgroup /sys/fs/cgroup/cpu cgroup rw 0 0\ncgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";
            assert_eq!(cgroup_root(mounts).as_deref(), Some("/sys/fs/cgroup/unified"));
            assert_eq!(cgroup_root("proc /proc proc rw 0 0\n"), None);
        }
    }
}
