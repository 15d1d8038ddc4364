//! The cluster that the suite runs in, as `cargo xtask cluster up` made it: kubectl, Helm, waiting, pods.

use std::path::PathBuf;
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use rustix::process::Pid;
use serde_json::Value;
use wirespan_tests::child::{Child, Ended, Program};
use wirespan_tests::temp::TempDir;

/// How long a pod may take until it is ready, or gone, on a machine that is busy.
pub(crate) const POD_PATIENCE: Duration = Duration::from_secs(120);

/// How often is looked whether something that is waited for is there: nobody tells of it.
const LOOK: Duration = Duration::from_millis(100);

/// A cluster.
pub(crate) struct Bed {
    kubectl: PathBuf,
    helm: PathBuf,
    chart: PathBuf,
    xtask: PathBuf,
    /// Folder of the cluster's state and logs.
    pub(crate) run: PathBuf,
    scratch: TempDir,
}

/// A pod, as the API server knows it.
#[derive(Clone, Debug)]
pub(crate) struct Pod(pub(crate) Value);

impl Bed {
    /// The one that `cargo xtask test cluster` names.
    pub(crate) fn from_environment() -> Self {
        let path = |name: &str| {
            let value = env::var_os(name);
            PathBuf::from(value.unwrap_or_else(|| panic!("{name} is not set: run `cargo xtask test cluster`")))
        };
        Self {
            kubectl: path("WIRESPAN_KUBECTL"),
            helm: path("WIRESPAN_HELM"),
            chart: path("WIRESPAN_CHART"),
            xtask: path("WIRESPAN_XTASK"),
            run: path("WIRESPAN_CLUSTER"),
            scratch: TempDir::new("cluster"),
        }
    }

    /// Runs kubectl, which must end well.
    #[track_caller]
    pub(crate) fn kubectl(&self, words: &[&str]) -> String {
        self.try_kubectl(words).well().stdout
    }

    /// Runs kubectl.
    #[track_caller]
    pub(crate) fn try_kubectl(&self, words: &[&str]) -> Ended {
        self.owner(Program::new(&self.kubectl)).args(words).run_within(POD_PATIENCE)
    }

    /// Starts kubectl.
    #[track_caller]
    pub(crate) fn start_kubectl(&self, words: &[&str]) -> Child {
        self.owner(Program::new(&self.kubectl)).args(words).start()
    }

    /// Installs the chart under a name, or changes it to these values, and waits until its pods are ready.
    #[track_caller]
    pub(crate) fn install(&self, name: &str, values: &str, set: &[&str]) {
        let file = self.scratch.file("values.yaml", values);
        let patience = format!("{}s", POD_PATIENCE.as_secs());
        let helm =
            self.owner(Program::new(&self.helm)).args(["upgrade", name]).arg(&self.chart).arg("--values").arg(file);
        let helm =
            helm.args(["--install", "--wait", "--create-namespace", "--namespace", name, "--timeout", &patience]);
        let set = set.iter().flat_map(|value| ["--set", value]);
        // It gives up by itself.
        let _ = helm.args(set).run_within(2 * POD_PATIENCE).well();
    }

    /// Removes what was installed under a name, if anything was, and waits until it is gone.
    #[track_caller]
    pub(crate) fn uninstall(&self, name: &str) {
        let helm = self.owner(Program::new(&self.helm)).args(["uninstall", name, "--namespace", name]);
        let _ = helm.args(["--ignore-not-found", "--wait"]).run_within(POD_PATIENCE).well();
    }

    /// A daemon of the cluster.
    #[track_caller]
    pub(crate) fn daemon(&self, name: &str) -> Pid {
        let text = fs::read_to_string(self.run.join("pid").join(name)).expect("it was started");
        text.split(' ').next().and_then(|pid| pid.parse().ok()).and_then(Pid::from_raw).expect("a pid")
    }

    /// Makes what a manifest describes, or changes it to that.
    #[track_caller]
    pub(crate) fn apply(&self, manifest: &str) {
        let file = self.scratch.file("manifest.yaml", manifest);
        self.kubectl(&["apply", "--filename", &file.display().to_string()]);
    }

    /// Makes what a file describes, which is large.
    #[track_caller]
    pub(crate) fn create(&self, name: &str, manifest: &str) {
        let file = self.scratch.file(name, manifest).display().to_string();
        let create = self.owner(Program::new(&self.kubectl)).args(["create", "--validate=false", "--filename", &file]);
        let _ = create.run_within(3 * POD_PATIENCE).well();
    }

    /// What the API server says of some objects.
    #[track_caller]
    pub(crate) fn get(&self, words: &[&str]) -> Value {
        let text = self.kubectl(&[&["get", "--output=json"], words].concat());
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("kubectl get {words:?} printed no JSON: {error}"))
    }

    /// The pods of a namespace that have these labels and are not about to end.
    #[track_caller]
    pub(crate) fn pods(&self, namespace: &str, labels: &str) -> Vec<Pod> {
        let list = self.get(&["pods", "--namespace", namespace, "--selector", labels]);
        let pods = list["items"].as_array().cloned().unwrap_or_default();
        pods.into_iter().filter(|pod| pod["metadata"]["deletionTimestamp"].is_null()).map(Pod).collect()
    }

    /// A pod.
    #[track_caller]
    pub(crate) fn pod(&self, namespace: &str, name: &str) -> Pod {
        Pod(self.get(&["pod", "--namespace", namespace, name]))
    }

    /// Waits until all pods of these labels are ready.
    #[track_caller]
    pub(crate) fn wait_ready(&self, namespace: &str, labels: &str) -> Vec<Pod> {
        until(&format!("pods of {labels} in {namespace} are ready"), POD_PATIENCE, || {
            let pods = self.pods(namespace, labels);
            (!pods.is_empty() && pods.iter().all(Pod::is_ready)).then_some(pods)
        })
    }

    /// The address by which a Service is dialled.
    #[track_caller]
    pub(crate) fn service_address(&self, namespace: &str, name: &str) -> String {
        let service = self.get(&["service", "--namespace", namespace, name]);
        service["spec"]["clusterIP"].as_str().expect("a Service has an address").to_owned()
    }

    /// Starts the daemons of the cluster that do not run.
    #[track_caller]
    pub(crate) fn up(&self) {
        let _ = Program::new(&self.xtask).args(["cluster", "up"]).run_within(POD_PATIENCE).well();
    }

    fn owner(&self, program: Program) -> Program {
        program.env("KUBECONFIG", self.run.join("keys/admin.kubeconfig")).env("KUBECACHEDIR", self.run.join("kubectl"))
    }
}

impl Pod {
    /// A text in its description, by a JSON pointer; empty where there is none.
    pub(crate) fn text(&self, pointer: &str) -> &str {
        self.0.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
    }

    /// Its name.
    pub(crate) fn name(&self) -> &str {
        self.text("/metadata/name")
    }

    /// Its uid.
    pub(crate) fn uid(&self) -> &str {
        self.text("/metadata/uid")
    }

    /// Its address.
    pub(crate) fn address(&self) -> &str {
        self.text("/status/podIP")
    }

    /// Whether all its containers are ready.
    pub(crate) fn is_ready(&self) -> bool {
        let conditions = self.0["status"]["conditions"].as_array().cloned().unwrap_or_default();
        conditions.iter().any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
    }
}

/// Waits until `look` finds what it looks for.
#[track_caller]
pub(crate) fn until<R>(what: &str, patience: Duration, look: impl FnMut() -> Option<R>) -> R {
    poll(patience, look).unwrap_or_else(|| panic!("not so within {patience:?}: {what}"))
}

/// What `look` finds within so long, if anything.
pub(crate) fn poll<R>(patience: Duration, mut look: impl FnMut() -> Option<R>) -> Option<R> {
    let begin = Instant::now();
    loop {
        match look() {
            None if begin.elapsed() < patience => thread::sleep(LOOK),
            found => return found,
        }
    }
}
