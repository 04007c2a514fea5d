//! What an agent's file tools reach.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use serde_json::json;
use toka_runtime::testing::TestRuntime;
use toka_runtime::{AgentContext, AgentError, Filter};

use crate::support::{Doing, Notes, count, test_runtime};

const SECRET: &str = "the secret";

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().join("root");
    fs::create_dir_all(root.join("docs/deep")).expect("made");
    fs::write(root.join("docs/a.txt"), "open").expect("written");
    fs::write(root.join("docs/deep/b.txt"), "open").expect("written");
    fs::write(root.join("secret.txt"), SECRET).expect("written");
    fs::write(folder.path().join("outside.txt"), SECRET).expect("written");
    symlink("../secret.txt", root.join("docs/link.txt")).expect("linked");
    symlink("/", root.join("docs/slash")).expect("linked");
    folder
}

/// Reads each path once, in order, and says what came.
async fn read(test: &TestRuntime, root: &Path, paths: &[&str]) -> Vec<String> {
    read_under(test, "tool:fs.read(path=docs/**)", root, paths).await
}

async fn read_under(test: &TestRuntime, grant: &str, root: &Path, paths: &[&str]) -> Vec<String> {
    let notes = Notes::default();
    let (told, paths) = (notes.clone(), paths.iter().map(|path| (*path).to_owned()).collect::<Vec<_>>());
    let reader = Doing(move |ctx: AgentContext| {
        let (told, paths) = (told.clone(), paths.clone());
        async move {
            for path in paths {
                told.add(match ctx.call("fs.read", json!({"path": path})).await {
                    Ok(output) => String::from_utf8_lossy(&output.bytes.unwrap_or_default()).into_owned(),
                    Err(AgentError::Denied { code, .. }) => format!("denied {code}"),
                    Err(AgentError::Tool { .. }) => "tool".to_owned(),
                    Err(error) => error.to_string(),
                });
            }
            Ok(())
        }
    });
    test.runtime.register_agent_with("reader", reader, &[grant], Some(root)).await.expect("registered");
    test.run_until_idle().await;
    test.runtime.remove_agent("reader").await.expect("removed");
    notes.all()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_for_a_folder_reaches_nothing_else() {
    let folder = folder();
    let test = test_runtime().await;
    let cases = [
        ("docs/a.txt", "open"),
        ("./docs//deep/../a.txt", "open"),
        ("docs/deep/b.txt", "open"),
        ("secret.txt", "denied capability.missing"),
        ("docs/../secret.txt", "denied capability.missing"),
        ("../outside.txt", "denied capability.missing"),
        ("docs/../../outside.txt", "denied capability.missing"),
        ("/etc/hostname", "denied capability.missing"),
        ("", "denied capability.missing"),
        ("docs/link.txt", "tool"),
        ("docs/slash/etc/hostname", "tool"),
        ("docs/none.txt", "tool"),
    ];
    let paths: Vec<&str> = cases.iter().map(|(path, _)| *path).collect();
    let read = read(&test, &folder.path().join("root"), &paths).await;
    for ((path, expected), found) in cases.iter().zip(&read) {
        assert_eq!(found, expected, "{path}");
    }
    let denied = cases.iter().filter(|(_, expected)| expected.starts_with("denied")).count();
    assert_eq!(count(&test.runtime, "capability.denied"), denied, "one event for each refused path");
    let mut events = test.runtime.bus().subscribe_from(0, Filter::all().kind("capability.denied"));
    let first = events.try_recv().expect("readable").expect("there");
    let content = String::from_utf8_lossy(first.payload().expect("content")).into_owned();
    assert!(content.contains("secret.txt") && content.contains("docs/**"), "{content}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limited_capability_reads_as_often_as_it_says() {
    let folder = folder();
    let test = test_runtime().await;
    let (grant, root) = ("tool:fs.read(path=docs/**,uses=2)", folder.path().join("root"));
    let paths = ["docs/a.txt", "secret.txt", "docs/none.txt", "docs/a.txt"];
    let read = read_under(&test, grant, &root, &paths).await;
    assert_eq!(read, ["open", "denied capability.missing", "tool", "denied capability.uses"]);
    let counted = (count(&test.runtime, "tool.requested"), count(&test.runtime, "tool.returned"));
    assert_eq!(
        counted,
        (2, 2),
        "what is counted is recorded before it is done, also where it is a look at this machine"
    );
    assert_eq!(test.runtime.world(|world| world.effects().count()).await.expect("a world"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_is_swapped_meanwhile_leads_nowhere() {
    let folder = folder();
    let root = folder.path().join("root");
    let test = test_runtime().await;
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let swapper = std::thread::spawn({
        let (root, stop) = (root.clone(), std::sync::Arc::clone(&stop));
        move || {
            let (there, aside) = (root.join("docs/deep"), root.join("docs/aside"));
            while !stop.load(std::sync::atomic::Ordering::SeqCst) {
                fs::rename(&there, &aside).expect("moved");
                symlink(folder.path(), &there).expect("linked");
                fs::remove_file(&there).expect("removed");
                fs::rename(&aside, &there).expect("moved back");
            }
        }
    });
    let read = read(&test, &root, &["docs/deep/outside.txt"; 500]).await;
    stop.store(true, std::sync::atomic::Ordering::SeqCst);
    swapper.join().expect("no panic");
    assert!(read.iter().all(|found| found == "tool"), "{read:?}");
}
