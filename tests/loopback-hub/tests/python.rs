//! Python's `huggingface_hub` takes it for the Hub; `REFERENCE_PYTHON` says which Python.

use std::{fs, process::Command};

use loopback_hub::{Access, Kind, LoopbackHub};

fn python(hub: &LoopbackHub, folder: &std::path::Path, code: &str) -> String {
    let program = std::env::var("REFERENCE_PYTHON").unwrap_or_else(|_| "python3".into());
    let output = Command::new(program)
        .args(["-c", code])
        .current_dir(folder)
        .env("HF_ENDPOINT", hub.endpoint())
        .env("HF_HOME", folder.join("home"))
        .env("HF_HUB_DISABLE_TELEMETRY", "1")
        .env("HF_HUB_DISABLE_XET", "1")
        .env("HF_TOKEN", "hf_test")
        .output()
        .expect("Python starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text").trim().to_string()
}

#[test]
#[ignore = "needs Python with huggingface_hub"]
fn python_downloads() {
    let (hub, folder) = (LoopbackHub::start(), tempfile::tempdir().expect("a folder"));
    let weights = vec![7; 250_000];
    let files = [("config.json", b"{}".to_vec()), ("transformer/a.safetensors", weights.clone())];
    let commit = hub.add_repo(Kind::Model, "THUDM/Tiny", "main", files);
    hub.add_repo(Kind::Dataset, "a/b", "refs/convert/parquet", [("default/train/0000.parquet", "PAR1")]);
    hub.set_access(Kind::Model, "THUDM/Tiny", Access::Private("hf_test".into()));
    hub.set_page_size(1);
    let code = "from huggingface_hub import snapshot_download as s, hf_hub_download as h, HfApi; \
                print(s('THUDM/Tiny')); \
                print([f.path for f in HfApi().list_repo_tree('THUDM/Tiny', recursive=True)]); \
                print(open(h('a/b', 'default/train/0000.parquet', repo_type='dataset', \
                             revision='refs/convert/parquet')).read())";
    let printed = python(&hub, folder.path(), code);
    let lines: Vec<&str> = printed.lines().collect();
    assert!(lines[0].ends_with(&commit), "{printed}");
    assert_eq!(fs::read(format!("{}/transformer/a.safetensors", lines[0])).expect("there"), weights);
    assert_eq!(lines[1], "['config.json', 'transformer', 'transformer/a.safetensors']");
    assert_eq!(lines[2], "PAR1");
    assert!(hub.requests().iter().filter(|request| request.is_to_store()).all(|request| request.status == 200));
}

#[test]
#[ignore = "needs Python with huggingface_hub"]
fn python_uploads() {
    let (hub, folder) = (LoopbackHub::start(), tempfile::tempdir().expect("a folder"));
    hub.set_part_size(100_000);
    let out = folder.path().join("out");
    fs::create_dir_all(out.join("transformer")).expect("made");
    let weights: Vec<u8> = (0..250_000u32).map(|n| (n % 251) as u8).collect();
    fs::write(out.join("transformer/a.safetensors"), &weights).expect("written");
    fs::write(out.join("small.safetensors"), b"small").expect("written");
    fs::write(out.join("README.md"), "---\nlicense: other\n---\n# A model\n").expect("written");
    let code = "from huggingface_hub import HfApi; a = HfApi(); i = a.create_repo('mine', private=True).repo_id; \
                a.create_repo('mine', exist_ok=True); \
                [a.upload_folder(repo_id=i, folder_path='out', commit_message='End of training') for _ in range(2)]; \
                print(i, a.model_info(i).private)";
    assert_eq!(python(&hub, folder.path(), code), "tester/mine True");
    let files = hub.files(Kind::Model, "tester/mine", "main");
    let paths: Vec<&str> = files.iter().map(|(path, _)| path.as_str()).collect();
    assert_eq!(paths, [".gitattributes", "README.md", "small.safetensors", "transformer/a.safetensors"]);
    assert!(files[3].1 == weights, "every byte arrives");
    let messages: Vec<String> = hub.commits(Kind::Model, "tester/mine").into_iter().map(|commit| commit.1).collect();
    assert_eq!(messages, ["initial commit", "End of training"], "what is the same makes no commit");
    let puts: Vec<_> = hub.requests().into_iter().filter(|request| request.method == "PUT").collect();
    assert_eq!(puts.len(), 4, "one object whole, one in three parts");
    assert!(puts.iter().all(|put| put.is_to_store() && put.authorization.is_none()));
    let refused = "from huggingface_hub import HfApi; a = HfApi(); \
                   open('README.md', 'w').write('---\\nlicense: none\\n---\\n'); \
                   a.upload_file(repo_id='tester/mine', path_in_repo='README.md', path_or_fileobj='README.md')";
    let printed = python(&hub, folder.path(), &format!("try:\n  {refused}\nexcept ValueError as e: print(e)"));
    assert!(printed.contains("license"), "{printed}");
}
