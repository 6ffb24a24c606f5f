//! W&B's own programs on an offline run: its reader, and `wandb sync` to a server on this machine. They need Python
//! with wandb, so they are run by `cargo xtask ci` only.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread,
};

use serde_json::Value;

use crate::{support::Workplace, wandb::FLAGS};

/// The server, until it is dropped.
struct Server {
    process: Child,
    port: String,
    requests: Arc<Mutex<Vec<Value>>>,
}

impl Server {
    fn start() -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wandb_server.py");
        let mut process =
            Command::new("python3").arg(script).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines().map(Result::unwrap);
        let port = lines.next().unwrap();
        let requests: Arc<Mutex<Vec<Value>>> = Arc::default();
        let kept = Arc::clone(&requests);
        thread::spawn(move || lines.for_each(|line| kept.lock().unwrap().push(serde_json::from_str(&line).unwrap())));
        Self { process, port, requests }
    }

    /// What came since it was asked last.
    fn take(&self) -> Vec<Value> {
        std::mem::take(&mut self.requests.lock().unwrap())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

/// Trains up to a step and sends the run; gives what the program says.
fn train(workplace: &Workplace, server: &Server, steps: &str) -> String {
    let mut command = workplace.command(&[FLAGS, &["--max_train_steps", steps, "--wandb_sync"]].concat());
    command.env("WANDB_BASE_URL", format!("http://127.0.0.1:{}", server.port));
    command.env("WANDB_API_KEY", "a".repeat(40)).env("HOME", workplace.path("")).env_remove("WANDB_DIR");
    let output = command.output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{error}");
    assert!(!error.contains("note: "), "{error}");
    error
}

/// The rows of the history that were sent, and the newest summary.
fn sent_rows(requests: &[Value]) -> (Vec<Value>, Value) {
    let (mut rows, mut summary) = (Vec::new(), Value::Null);
    for files in requests.iter().filter_map(|request| request["body"]["files"].as_object()) {
        let parse = |line: &Value| serde_json::from_str::<Value>(line.as_str().unwrap()).unwrap();
        let content = |name: &str| files.get(name).and_then(|file| file["content"].as_array());
        rows.extend(content("wandb-history.jsonl").into_iter().flatten().map(parse));
        summary = content("wandb-summary.json").and_then(|lines| lines.last()).map_or(summary, parse);
    }
    (rows, summary)
}

fn assert_sent(workplace: &Workplace, requests: &[Value], steps: std::ops::RangeInclusive<u64>) {
    let (rows, summary) = sent_rows(requests);
    let found: Vec<u64> = rows.iter().map(|row| row["_step"].as_u64().unwrap()).collect();
    assert_eq!(found, steps.clone().collect::<Vec<_>>());
    let metrics = workplace.json_lines("out/metrics.jsonl");
    for row in rows.iter().filter(|row| row["_step"] != 0) {
        let line = &metrics[row["_step"].as_u64().unwrap() as usize - 1];
        assert_eq!((&row["loss"], &row["lr"]), (&line["loss"], &line["lr"]));
    }
    assert_eq!(summary["loss"], metrics.last().unwrap()["loss"]);
    let pictures = rows.iter().flat_map(|row| ["validation", "test", "dataset_samples"].map(|tag| &row[tag]));
    let mut count = 0;
    for name in pictures.filter_map(|pictures| pictures["filenames"].as_array()).flatten() {
        let hash = name.as_str().unwrap().rsplit_once('_').unwrap().1.trim_end_matches(".png");
        let is_it =
            |request: &&Value| request["method"] == "PUT" && request["sha256"].as_str().unwrap().starts_with(hash);
        assert!(requests.iter().any(|request| is_it(&request)), "{name} was not sent");
        count += 1;
    }
    assert!(count >= 4 && rows.last().unwrap()["test"]["captions"][1] == "a square");
}

#[test]
#[ignore = "needs Python with wandb"]
fn wandb_reads_and_sends_every_scalar_picture_and_setting() {
    let (workplace, server) = (Workplace::new(), Server::start());
    train(&workplace, &server, "5");
    let first = server.take();
    assert_sent(&workplace, &first, 0..=5);
    let upsert = first.iter().find(|request| request["operation"] == "UpsertBucket").unwrap();
    let upsert = &upsert["variables"];
    assert_eq!(upsert["project"], "cogview4_train_control");
    let config: Value = serde_json::from_str(upsert["config"].as_str().unwrap()).unwrap();
    assert_eq!(config["recipe"]["value"]["resolution"], 32);

    // What comes later is of the same run, and what was sent is not sent again.
    train(&workplace, &server, "7");
    let second = server.take();
    assert_sent(&workplace, &second, 6..=7);
    let names = |requests: &[Value]| {
        let upserts = requests.iter().filter(|request| request["operation"] == "UpsertBucket");
        upserts.map(|request| request["variables"]["name"].clone()).collect::<Vec<_>>()
    };
    let all: Vec<_> = names(&first).into_iter().chain(names(&second)).collect();
    assert!(all.len() >= 2 && all.iter().all(|name| *name == all[0]), "{all:?}");

    let inspect = |flags: &[&str]| {
        let latest = workplace.path("out/wandb/latest-run");
        let output =
            Command::new("wandb").args(["leet", "inspect", "--json"]).args(flags).arg(latest).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(inspect(&[]).matches("\"type\":\"history\"").count(), 2);
    let summary = inspect(&["--summary"]);
    assert!(summary.contains("\"finished\"") && summary.contains("control_gain"), "{summary}");
}
