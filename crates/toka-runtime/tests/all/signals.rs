//! What signals do to a process that runs agents. The process is this test binary itself.
#![allow(clippy::print_stdout, reason = "the process under test says how far it is")]

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use toka_runtime::AgentContext;
use toka_runtime::runtime::{Ended, Runtime, RuntimeConfig};

use crate::support::Doing;

const ROLE: &str = "TOKA_TEST_ROLE";

/// The child's side: runs an agent until a signal comes. It does nothing in an ordinary run of the tests.
#[test]
fn child() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let executor = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let ended = executor.expect("threads").block_on(async {
        let runtime = Runtime::new(RuntimeConfig::default()).await.expect("a runtime");
        let stubborn = role == "stubborn";
        let agent = Doing(move |ctx: AgentContext| async move {
            println!("ready");
            ctx.stopped().await;
            println!("stopping");
            if stubborn {
                std::future::pending::<()>().await;
            }
            Ok(())
        });
        runtime.register_agent("agent", agent).await.expect("registered");
        runtime.run().await.expect("it ends well")
    });
    std::process::exit(match ended {
        Ended::Interrupted => 130,
        Ended::Terminated => 0,
        Ended::Idle => 1,
    });
}

struct Process {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Process {
    fn start(role: &str) -> Self {
        let program = std::env::current_exe().expect("this binary");
        let mut child = Command::new(program)
            .args(["--exact", "signals::child", "--nocapture", "--test-threads=1"])
            .env(ROLE, role)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("a process");
        let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        Self { child, lines }
    }

    fn wait_for(&mut self, word: &str) {
        let found = self.lines.any(|line| line.is_ok_and(|line| line.contains(word)));
        assert!(found, "the process ended before it said '{word}'");
    }

    fn signal(&self, name: &str) {
        let status = Command::new("kill").args([name, &self.child.id().to_string()]).status();
        assert!(status.expect("kill runs").success());
    }

    fn exit_code(mut self) -> Option<i32> {
        self.child.wait().expect("it ends").code()
    }
}

#[test]
fn the_first_signal_asks_for_the_end() {
    for (signal, code) in [("-INT", 130), ("-TERM", 0)] {
        let mut process = Process::start("willing");
        process.wait_for("ready");
        process.signal(signal);
        process.wait_for("stopping");
        assert_eq!(process.exit_code(), Some(code), "{signal}");
    }
}

#[test]
fn the_second_signal_is_the_end() {
    for (first, second, code) in [("-INT", "-INT", 130), ("-TERM", "-TERM", 143), ("-INT", "-TERM", 143)] {
        let mut process = Process::start("stubborn");
        process.wait_for("ready");
        process.signal(first);
        process.wait_for("stopping");
        process.signal(second);
        assert_eq!(process.exit_code(), Some(code), "{first} {second}");
    }
}
