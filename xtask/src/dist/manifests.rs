//! `cargo xtask dist manifests`: the chart with its default values as plain manifests, for those who have no Helm; and what must hold
//! of the chart.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::bed::helm::helm;
use crate::command::{command, output, run, succeeds};
use crate::step::Steps;
use crate::workspace;

pub(crate) const CHART: &str = "deploy/helm/wirespan";
const MANIFESTS: &str = "deploy/manifests/wirespan.yaml";
/// The release and its namespace in the manifests.
const NAME: &str = "wirespan";
/// A Kubernetes with every field that the chart knows.
const KUBERNETES: &str = "1.34.0";

const HEAD: &str = "\
# The chart in deploy/helm/wirespan with its default values. Written by `cargo xtask dist manifests`: change the chart, or set values there.
apiVersion: v1
kind: Namespace
metadata:
  name: wirespan
  labels:
    # It watches the whole node: no other level lets it.
    pod-security.kubernetes.io/enforce: privileged
";

/// Values that the chart is rendered with, besides its own, and what must be in what comes out.
const GOOD: &[(&[&str], &[&str])] = &[
    (
        &[],
        &[
            "allowPrivilegeEscalation: false",
            "privileged: false",
            "type: RuntimeDefault",
            "appArmorProfile:",
            "port: 53",
        ],
    ),
    (&["kernel=5.10"], &["- SYS_RESOURCE"]),
    (&["capabilities.namespaces=true"], &["- SYS_ADMIN"]),
    (&["seccomp.type=Localhost", "seccomp.localhostProfile=wirespan.json"], &["localhostProfile: wirespan.json"]),
    (&["seLinuxOptions.type=spc_t"], &["type: spc_t"]),
    (&["hostNetwork=true"], &["dnsPolicy: ClusterFirstWithHostNet", "hostNetwork: true"]),
    (
        &["config.otlp.endpoint=http://collector.observability:4317"],
        &["port: 4317", "endpoint: http://collector.observability:4317"],
    ),
    (&["config.otlp.endpoint=https://otlp.example"], &["{port: 443, protocol: TCP}"]),
    (
        &["metrics.enabled=true", "metrics.serviceMonitor.enabled=true"],
        &["kind: ServiceMonitor", "value: \"[::]:9464\""],
    ),
    (
        &["priorityClass.create=false", "serviceAccount.create=false", "rbac.create=false"],
        &["serviceAccountName: default"],
    ),
    (
        &[
            "minReadySeconds=5",
            "updateStrategy.rollingUpdate.maxSurge=0",
            "updateStrategy.rollingUpdate.maxUnavailable=1",
        ],
        &["minReadySeconds: 5"],
    ),
    (&["restartOnChange=true", "config.log.filter=debug"], &["wirespan.io/config-sum: ", "filter: debug"]),
];

/// Values that the schema refuses, or the chart.
const BAD: &[&str] = &[
    "sleep=1",
    "kernel=old",
    "config.otlp.endpont=x",
    "config.connections.report=loud",
    "capabilities.extra={CAP_X}",
    "health.port=0",
    "minReadySeconds=5",
];

/// Writes the manifests.
pub(crate) fn manifests(steps: &mut Steps) -> Result<()> {
    let helm = helm(steps)?;
    let place = workspace::root().join(MANIFESTS);
    fs::write(&place, plain(&template(&helm, KUBERNETES, &[])?)).with_context(|| place.display().to_string())?;
    eprintln!("{}", place.display());
    Ok(())
}

/// Fails if the chart is not clean, if it takes values that it should not, or if the manifests are not what it renders.
pub(crate) fn check(steps: &mut Steps) -> Result<()> {
    let helm = helm(steps)?;
    run(command(&helm).args(["lint", "--strict", CHART]))?;
    for (values, words) in GOOD {
        let text = template(&helm, KUBERNETES, values)?;
        for word in *words {
            ensure!(text.contains(word), "with {values:?} there is no `{word}` in:\n{text}");
        }
    }
    let default = template(&helm, KUBERNETES, &[])?;
    for word in ["SYS_ADMIN", "SYS_RESOURCE", "hostNetwork", "CAP_"] {
        ensure!(!default.contains(word), "there is `{word}` in the chart's default:\n{default}");
    }
    let older = template(&helm, "1.29.0", &[])?;
    ensure!(
        older.contains("apparmor.security.beta.kubernetes.io/wirespan: unconfined")
            && !older.contains("appArmorProfile"),
        "before 1.30 AppArmor is an annotation:\n{older}"
    );
    for value in BAD {
        let taken = succeeds(rendering(&helm, KUBERNETES, &[value]).stderr(std::process::Stdio::null()));
        ensure!(!taken, "the chart takes {value}");
    }
    let kept = fs::read_to_string(workspace::root().join(MANIFESTS)).with_context(|| MANIFESTS.to_owned())?;
    if kept != plain(&default) {
        bail!("{MANIFESTS} is not what the chart renders: `cargo xtask dist manifests` writes it");
    }
    Ok(())
}

fn rendering(helm: &Path, kubernetes: &str, values: &[&str]) -> Command {
    let mut command = command(helm);
    command.args(["template", NAME, CHART, "--namespace", NAME, "--kube-version", kubernetes]);
    for value in values {
        command.args(["--set", value]);
    }
    command
}

fn template(helm: &Path, kubernetes: &str, values: &[&str]) -> Result<String> {
    output(&mut rendering(helm, kubernetes, values))
}

/// Without what only Helm would say.
fn plain(rendered: &str) -> String {
    let of_helm = |line: &&str| line.starts_with("# Source: ") || line.trim() == "app.kubernetes.io/managed-by: Helm";
    let mut text = HEAD.to_owned();
    for line in rendered.lines().filter(|line| !of_helm(line)) {
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manifests_say_nothing_of_helm() {
        let rendered = "---\n# Source: wirespan/templates/x.yaml\nkind: X\nmetadata:\n  labels:\n    app.kubernetes.io/managed-by: Helm\n";
        assert_eq!(plain(rendered), format!("{HEAD}---\nkind: X\nmetadata:\n  labels:\n"));
    }
}
