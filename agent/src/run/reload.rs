//! The configuration file while the agent runs: read anew when it changes, or when SIGHUP asks for it. All or nothing: a file
//! that is not good changes nothing, and what is wrong with it is said.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use wirespan::config::Selection;
use wirespan::config::layers::Resolved;
use wirespan::flow::Nanos;

use crate::notice::say;
use crate::settings::{Settings, Sources};

/// How often the file is looked at. Looking is one `statx`, works on every file system, and follows the symbolic links by
/// which Kubernetes swaps the files of a ConfigMap.
const LOOK_NS: u64 = 1_000_000_000;

/// Watches the file.
pub(super) struct Reload {
    sources: Sources,
    /// What holds now.
    resolved: Resolved,
    stamp: Option<Stamp>,
    next_look: Nanos,
    /// What came of the last reading, until somebody asks.
    verdict: Option<Result<(), String>>,
}

/// A change of what is traced.
pub(super) struct Change {
    /// What is traced from now on.
    pub(super) selection: Selection,
    /// To be said when that is so: whoever waits for it relies on it.
    pub(super) said: String,
}

/// What changes when a file does: another file has taken its place, or it was written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    length: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Reload {
    /// Settings that were read from there just now.
    pub(super) fn new(sources: Sources, resolved: Resolved) -> Self {
        let stamp = sources.file().and_then(stamp);
        Self { sources, resolved, stamp, next_look: Nanos(0), verdict: None }
    }

    /// What is traced from now on, if that is news.
    pub(super) fn look(&mut self, now: Nanos, is_asked_for: bool) -> Option<Change> {
        let Some(file) = self.sources.file() else {
            if is_asked_for {
                say(&"configuration: there is no file to read anew; name one with --config");
            }
            return None;
        };
        if !is_asked_for && now < self.next_look {
            return None;
        }
        self.next_look = Nanos(now.0.saturating_add(LOOK_NS));
        let stamp = stamp(file);
        // Between two steps of somebody who replaces the file it may not be there.
        if !is_asked_for && (stamp.is_none() || stamp == self.stamp) {
            return None;
        }
        self.stamp = stamp;
        self.reload()
    }

    /// Whether the file is good, or what is wrong with it, if it was read since this was asked.
    pub(super) fn take_verdict(&mut self) -> Option<Result<(), String>> {
        self.verdict.take()
    }

    fn reload(&mut self) -> Option<Change> {
        match self.sources.load() {
            Ok(settings) => {
                self.verdict = Some(Ok(()));
                self.take(settings)
            }
            Err(failure) => {
                self.verdict = Some(Err(failure.to_string()));
                say(&format_args!("configuration: nothing is changed, because {failure}"));
                None
            }
        }
    }

    fn take(&mut self, settings: Settings) -> Option<Change> {
        let changed = settings.resolved.changed(&self.resolved);
        let keys = |is_live: bool| {
            let keys: Vec<_> =
                changed.iter().filter(|setting| setting.is_live == is_live).map(|setting| setting.key).collect();
            keys.join(", ")
        };
        let (live, other) = (keys(true), keys(false));
        let mut lines = Vec::new();
        if !live.is_empty() {
            lines.push(format!("configuration: changed {live}"));
        }
        if !other.is_empty() {
            lines.push(format!("configuration: {other} cannot change while the agent runs: start it anew for that"));
        }
        if lines.is_empty() {
            lines.push("configuration: read anew, nothing is changed".to_owned());
        }
        self.resolved = settings.resolved;
        let said = lines.join("\n");
        if live.is_empty() {
            say(&said);
            return None;
        }
        Some(Change { selection: settings.options.selection, said })
    }
}

fn stamp(path: &Path) -> Option<Stamp> {
    let status = fs::metadata(path).ok()?;
    Some(Stamp {
        device: status.dev(),
        inode: status.ino(),
        length: status.len(),
        modified: (status.mtime(), status.mtime_nsec()),
        changed: (status.ctime(), status.ctime_nsec()),
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    struct Files(PathBuf);

    impl Files {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("wirespan-reload-{}-{name}", std::process::id()));
            fs::create_dir_all(&path).expect("a temporary directory");
            Self(path)
        }

        fn write(&self, name: &str, text: &str) -> PathBuf {
            let path = self.0.join(name);
            fs::create_dir_all(path.parent().expect("it has one")).expect("ours");
            fs::write(&path, text).expect("ours");
            path
        }

        fn watch(&self, path: &Path) -> Reload {
            let sources = Sources::new(Vec::new(), Some(path));
            let settings = sources.load().expect("it is good");
            Reload::new(sources, settings.resolved)
        }
    }

    impl Drop for Files {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn shown(change: Option<Change>) -> Option<Vec<String>> {
        change.map(|change| change.selection.only.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_change_is_seen_within_a_second_and_once() {
        let files = Files::new("change");
        let path = files.write("c.yaml", "select: {include: [exe:a]}\n");
        let mut reload = files.watch(&path);
        assert_eq!(shown(reload.look(Nanos(SECOND), false)), None);
        files.write("c.yaml", "select: {include: [exe:bb]}\n");
        assert_eq!(shown(reload.look(Nanos(SECOND + 1), false)), None, "not yet");
        assert_eq!(shown(reload.look(Nanos(2 * SECOND), false)), Some(vec!["exe:bb".to_owned()]));
        assert_eq!(shown(reload.look(Nanos(3 * SECOND), false)), None);
    }

    #[test]
    fn the_swap_of_a_config_map_is_seen() {
        let files = Files::new("swap");
        files.write("..one/c.yaml", "select: {include: [exe:a]}\n");
        symlink("..one", files.0.join("..data")).expect("ours");
        let path = files.0.join("c.yaml");
        symlink("..data/c.yaml", &path).expect("ours");
        let mut reload = files.watch(&path);
        assert_eq!(shown(reload.look(Nanos(SECOND), false)), None);
        files.write("..two/c.yaml", "select: {include: [exe:b]}\n");
        symlink("..two", files.0.join("..data_tmp")).expect("ours");
        fs::rename(files.0.join("..data_tmp"), files.0.join("..data")).expect("ours");
        assert_eq!(shown(reload.look(Nanos(2 * SECOND), false)), Some(vec!["exe:b".to_owned()]));
    }

    #[test]
    fn a_bad_file_changes_nothing_and_a_good_one_after_it_does() {
        let files = Files::new("bad");
        let path = files.write("c.yaml", "select: {include: [exe:a]}\n");
        let mut reload = files.watch(&path);
        for (second, bad) in [(1, "selct: {}\n"), (2, "select: {include: [exe:b], exclude: [exe:b]}\n"), (3, "a: [\n")]
        {
            files.write("c.yaml", bad);
            assert_eq!(shown(reload.look(Nanos(second * SECOND), false)), None, "{bad}");
            assert!(reload.take_verdict().is_some_and(|verdict| verdict.is_err()), "{bad}");
        }
        fs::remove_file(&path).expect("ours");
        assert_eq!(shown(reload.look(Nanos(4 * SECOND), false)), None, "it may be about to be replaced");
        assert_eq!(shown(reload.look(Nanos(4 * SECOND), true)), None, "it is not there");
        files.write("c.yaml", "select: {include: [exe:c]}\n");
        assert_eq!(shown(reload.look(Nanos(5 * SECOND), false)), Some(vec!["exe:c".to_owned()]));
        assert_eq!((reload.take_verdict(), reload.take_verdict()), (Some(Ok(())), None));
    }

    #[test]
    fn a_signal_reads_it_at_once_and_what_cannot_change_does_not() {
        let files = Files::new("signal");
        let path = files.write("c.yaml", "connections: {segment: 5}\n");
        let mut reload = files.watch(&path);
        assert_eq!(shown(reload.look(Nanos(SECOND), true)), None, "nothing is changed");
        files.write("c.yaml", "connections: {segment: 6}\n");
        assert_eq!(shown(reload.look(Nanos(SECOND), true)), None, "it needs a new start");
        files.write("c.yaml", "connections: {segment: 6}\nselect: {exclude: [exe:x]}\n");
        assert!(reload.look(Nanos(SECOND), true).is_some());
        let mut without = Reload::new(Sources::default(), reload.resolved);
        assert_eq!(shown(without.look(Nanos(SECOND), true)), None);
    }
}
