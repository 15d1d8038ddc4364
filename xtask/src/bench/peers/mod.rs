//! The same application untraced, with OpenTelemetry's instrumentation inside, and beside Wirespan.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Result;

use crate::bed::agent::Agent;
use crate::bed::cpu::{self, Watch};
use crate::bed::install::{Recipe, Source};
use crate::bed::server::{Server, free_address, wrk};
use crate::bench::figure::{Figure, Target, as_f64};
use crate::bench::interleave::{Variant, alternated, of};
use crate::bench::paced::{Answer, Load};
use crate::bench::plane::Plane;
use crate::bench::sink::Sink;
use crate::bench::statistics::{Aba, Spread, over};
use crate::command::command;
use crate::step::Steps;

/// Measurements of each way to trace.
const ROUNDS: usize = 3;

/// Before that, at full speed: compilers at run time have to finish.
const WARM_UP: Duration = Duration::from_secs(8);

/// At full speed, for the throughput.
const FULL_SPEED: Duration = Duration::from_secs(2);

/// At a fixed rate, for processor time and latency.
const PACED: Duration = Duration::from_secs(3);

/// Connections of either load.
const CONNECTIONS: u32 = 16;

/// How long an application may take to listen.
const START_LIMIT: Duration = Duration::from_secs(60);

/// Microseconds of processor time that Wirespan may add to a request, application and agent together.
const LIMIT_US: f64 = 6.0;

/// What is asked.
const REQUEST: &[u8] =
    b"GET /items HTTP/1.1\r\nHost: bench\r\nUser-Agent: wirespan-bench\r\nAccept: application/json\r\n\r\n";

const MIB: f64 = 1_048_576.0;

/// With OpenTelemetry's instrumentation.
const INSIDE: usize = 0;

/// With Wirespan.
const BESIDE: usize = 1;

/// Node and Express; OpenTelemetry from npm.
const NODE: Source = Source {
    folder: "xtask/peers/node",
    files: &["package.json", "package-lock.json", "server.js"],
    programs: &[],
    recipe: Recipe::Npm,
};

/// Flask and gunicorn; OpenTelemetry from `PyPI`.
const PYTHON: Source = Source {
    folder: "xtask/peers/python",
    files: &["requirements.txt", "server.py"],
    programs: &[],
    recipe: Recipe::Pip,
};

/// Spring Boot; OpenTelemetry from Maven Central.
const JAVA: Source = Source {
    folder: "xtask/peers/java",
    files: &["pom.xml", "src/main/java/bench/Peer.java"],
    programs: &[],
    recipe: Recipe::Maven,
};

/// An application in a language.
struct Peer {
    name: &'static str,
    source: Source,
    /// Requests per second that it can answer in each way; too few, and what the agent does at rest weighs too much.
    per_second: u64,
    /// Its command, by the folder that it was installed into, its address, and whether it is instrumented.
    command: fn(&Path, SocketAddr, bool) -> Command,
}

const PEERS: &[Peer] = &[
    Peer { name: "Node (Express)", source: NODE, per_second: 1_500, command: node },
    Peer { name: "Python (Flask)", source: PYTHON, per_second: 500, command: python },
    Peer { name: "Java (Spring Boot)", source: JAVA, per_second: 2_000, command: java },
];

/// One measurement of one way.
#[derive(Clone, Copy, Debug)]
struct Run {
    /// Requests per second at full speed.
    full_speed: f64,
    /// Processor time of a request at the fixed rate, application and agent together.
    cpu_us: f64,
    /// The agent's part of that.
    agent_us: f64,
    p99_us: f64,
    /// Memory of the application, and of the agent with its maps.
    memory_mib: f64,
    /// Requests at both speeds.
    requests: u64,
}

pub(super) fn measure(steps: &mut Steps) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for peer in PEERS {
        figures.extend(peer.measure(steps)?);
    }
    Ok(figures)
}

impl Peer {
    fn measure(&self, steps: &mut Steps) -> Result<Vec<Figure>> {
        let folder = self.source.installed(steps)?;
        let (inside, beside) = (Sink::counting()?, Sink::counting()?);
        let plain = self.start(&folder, None)?;
        let instrumented = self.start(&folder, Some(&inside))?;
        let mut served_inside = 0;
        steps.step(&format!("{}: warming up", self.name), || {
            wrk(&url(&plain), CONNECTIONS, WARM_UP, &[])?;
            served_inside = wrk(&url(&instrumented), CONNECTIONS, WARM_UP, &[])?.0;
            Ok(())
        })?;
        let ourselves = format!("pid:{}", std::process::id());
        let selected = ["--only", &plain.selector(), "--except", &ourselves, "--except", "exe:wrk"];
        let agent = Variant::new("Wirespan", &selected).with_environment(&beside.environment());
        let order = (0..ROUNDS).flat_map(|_| [INSIDE, BESIDE]);
        let say = format!("{}: untraced, instrumented and beside Wirespan, {} runs", self.name, ROUNDS * 4 + 1);
        let mut served_beside = 0;
        let measured = steps.step(&say, || {
            alternated(order, |way| match way {
                None => self.run(&plain, None),
                Some(INSIDE) => self.run(&instrumented, None).inspect(|run| served_inside += run.requests),
                Some(_) => self.run(&plain, Some(&agent)).inspect(|run| served_beside += run.requests),
            })
        })?;
        // Ending it makes it send what it still has.
        drop(instrumented);
        let spans = [(&inside, served_inside), (&beside, served_beside)].map(|(sink, served)| {
            // One request each of the paced loads tells the length of the answers.
            as_f64(sink.boundary_spans()) / as_f64(served)
        });
        Ok(self.figures(&of(&measured, INSIDE), &of(&measured, BESIDE), spans))
    }

    fn start(&self, folder: &Path, sink: Option<&Sink>) -> Result<Server> {
        let address = free_address()?;
        let mut command = (self.command)(folder, address, sink.is_some());
        command.stderr(Stdio::null());
        if let Some(sink) = sink {
            // Traces alone, as Wirespan makes them; the rest as the projects ship it.
            command.envs(sink.environment()).envs([
                ("OTEL_SERVICE_NAME", "peer"),
                ("OTEL_TRACES_EXPORTER", "otlp"),
                ("OTEL_METRICS_EXPORTER", "none"),
                ("OTEL_LOGS_EXPORTER", "none"),
                // Others ask for the metadata of clouds, which is not there.
                ("OTEL_NODE_RESOURCE_DETECTORS", "env,host,os,process"),
            ]);
        }
        Server::start(&mut command, address, START_LIMIT)
    }

    /// Loads an application at full speed, then at the fixed rate.
    fn run(&self, server: &Server, agent: Option<&Variant>) -> Result<Run> {
        let agent = agent.map(Variant::start).transpose()?;
        let (requests, full_speed) = wrk(&url(server), CONNECTIONS, FULL_SPEED, &[])?;
        let application = cpu::family(server.pid());
        let everything: Vec<_> = application.iter().copied().chain(agent.as_ref().map(Agent::pid)).collect();
        let load = Load {
            server: server.address(),
            request: REQUEST,
            answer: Answer::Http,
            connections: CONNECTIONS as usize,
            per_second: self.per_second,
            time: PACED,
        };
        let watch = Watch::of(&everything)?;
        let agent_watch = Watch::of(&everything[application.len()..])?;
        let paced = load.run()?;
        let [cpu_us, agent_us] =
            [watch.seconds()?, agent_watch.seconds()?].map(|seconds| seconds * 1e6 / as_f64(paced.requests));
        let mut bytes = everything.iter().map(|pid| cpu::resident_bytes(*pid)).sum::<Result<u64>>()?;
        if let Some(agent) = agent {
            bytes += Plane::of(agent.pid())?.map_bytes();
            agent.stop()?;
        }
        // The first request of the paced load tells how long answers are.
        let requests = requests + paced.requests + 1;
        Ok(Run { full_speed, cpu_us, agent_us, p99_us: paced.p99_us, memory_mib: as_f64(bytes) / MIB, requests })
    }

    fn figures(&self, inside: &[Aba<Run>], beside: &[Aba<Run>], spans: [f64; 2]) -> Vec<Figure> {
        let untraced = |number: fn(&Run) -> f64| {
            Spread::of(&inside.iter().chain(beside).map(|aba| number(&aba.before)).collect::<Vec<_>>())
        };
        let named = |what: &str| format!("{}: {what}", self.name);
        let mut figures = vec![
            Figure::spread(named("untraced, at full speed"), untraced(|run| run.full_speed), "/s", Target::None),
            Figure::spread(named("untraced, CPU per request"), untraced(|run| run.cpu_us), "µs", Target::None),
            Figure::spread(named("untraced, p99"), untraced(|run| run.p99_us), "µs", Target::None),
            Figure::spread(named("untraced, memory"), untraced(|run| run.memory_mib), "MiB", Target::None),
        ];
        let ways = [
            ("OpenTelemetry", inside, Target::None, Target::None),
            (
                "Wirespan",
                beside,
                Target::AtMost(LIMIT_US),
                // What wrk was still waiting for at its end is a span but no answer, or the other way round.
                Target::AtLeast((spans[INSIDE] * 0.99).min(0.99)),
            ),
        ];
        for ((name, measured, cpu, span), spans) in ways.into_iter().zip(spans) {
            let named = |what: &str| named(&format!("{name}, {what}"));
            let fewer = over(measured, |aba| -aba.more_percent(|run| run.full_speed));
            let added = over(measured, |aba| aba.more(|run| run.cpu_us));
            let longer = over(measured, |aba| aba.more_percent(|run| run.p99_us));
            let memory = over(measured, |aba| aba.more(|run| run.memory_mib));
            figures.extend([
                Figure::spread(named("fewer requests at full speed"), fewer, "%", Target::None),
                Figure::spread(named("CPU added per request"), added, "µs", cpu),
                Figure::spread(named("longer p99"), longer, "%", Target::None),
                Figure::spread(named("memory added"), memory, "MiB", Target::None),
                Figure::new(named("spans at the process boundary per request"), spans, "", span),
            ]);
        }
        let agent = over(beside, |aba| aba.with.agent_us);
        figures.push(Figure::spread(named("Wirespan, of which the agent"), agent, "µs", Target::None));
        figures
    }
}

fn url(server: &Server) -> String {
    format!("http://{}/items", server.address())
}

fn node(folder: &Path, address: SocketAddr, instrumented: bool) -> Command {
    let mut node = command("node");
    if instrumented {
        node.args(["--require", "@opentelemetry/auto-instrumentations-node/register"]);
    }
    node.arg("server.js").arg(address.port().to_string()).env("NODE_ENV", "production").current_dir(folder);
    node
}

fn python(folder: &Path, address: SocketAddr, instrumented: bool) -> Command {
    let programs = folder.join("venv/bin");
    let gunicorn = programs.join("gunicorn");
    let mut python = if instrumented {
        let mut python = command(programs.join("opentelemetry-instrument"));
        python.arg(gunicorn);
        python
    } else {
        command(gunicorn)
    };
    // One process, as many threads as connections, connections that stay open.
    python.args(["--workers=1", "--worker-class=gthread", "--threads=16", "--keep-alive=600", "--log-level=warning"]);
    python.arg(format!("--bind={address}")).arg("server:app").current_dir(folder);
    python
}

fn java(folder: &Path, address: SocketAddr, instrumented: bool) -> Command {
    let mut java = command("java");
    // Compilers that end and begin again would take their processor time with them.
    java.args(["-Xmx256m", "-XX:-UseDynamicNumberOfCompilerThreads"]);
    if instrumented {
        java.arg("-javaagent:target/opentelemetry-javaagent.jar");
    }
    java.args(["-jar", "target/peer.jar", "--server.address=127.0.0.1"]);
    java.arg(format!("--server.port={}", address.port()));
    // Tomcat ends a connection after 100 requests unless told otherwise.
    java.args(["--server.tomcat.max-keep-alive-requests=-1", "--server.tomcat.keep-alive-timeout=10m"]);
    java.current_dir(folder);
    java
}
