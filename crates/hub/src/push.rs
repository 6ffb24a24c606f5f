//! A folder to a repository of a model: small files in the commit itself, large ones before it, by Git LFS.

mod account;
mod card;
mod commit;
mod files;
mod lfs;
mod multipart;

use std::{fmt, path::Path};

use serde_json::{Value, json};

use self::{
    commit::Commit,
    files::{LocalFile, collect},
    lfs::Object,
};
use crate::{
    error::{HubError, Result},
    http::Subject,
    hub::Hub,
    repo::{Repo, RepoId},
};

/// Files that are asked about at a time.
const AT_A_TIME: usize = 100;
/// The branch that is pushed to.
const BRANCH: &str = "main";

/// What is pushed, and how.
#[derive(Clone, Copy)]
pub struct PushOptions<'a> {
    /// Whether a repository that is made now is private. One that is there and public is refused then.
    pub private: bool,
    /// The commit's message.
    pub message: &'a str,
    /// Which files are pushed, by their paths in the folder, with slashes; all that are not hidden at first.
    pub choose: &'a dyn Fn(&str) -> bool,
    /// Which files of the repository are deleted where they are not among those that are pushed: shards of an earlier
    /// model would be loaded in place of the new one. None at first.
    pub replace: &'a dyn Fn(&str) -> bool,
}

impl Default for PushOptions<'_> {
    fn default() -> Self {
        Self { private: false, message: "End of training", choose: &is_shown, replace: &|_| false }
    }
}

/// Whether neither a file nor a folder above it is hidden.
fn is_shown(path: &str) -> bool {
    path.split('/').all(|name| !name.starts_with('.'))
}

impl fmt::Debug for PushOptions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { private, message, .. } = self;
        f.debug_struct("PushOptions").field("private", private).field("message", message).finish_non_exhaustive()
    }
}

/// What a push came to.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Pushed {
    /// The repository's page.
    pub url: String,
    /// The commit that was made; `None` where the repository had everything already.
    pub commit: Option<String>,
    /// Files that were sent.
    pub uploaded: usize,
    /// Files that were there, of this name or from a push that was cut.
    pub reused: usize,
}

impl Hub {
    /// Pushes files of a folder to a model's repository, which is made where there is none. A card (`README.md`) is
    /// shown to the Hub before anything is made. Large files are streamed from the disk; those that came whole before a
    /// cut or a kill are not sent again by the next push. The repository changes all at once, by the last request.
    ///
    /// ```no_run
    /// use cogview4_hub::{Hub, PushOptions};
    ///
    /// let hub = Hub::from_env();
    /// let id = hub.resolve_id("pose-control")?;
    /// let pushed = hub.push(&id, "pose-control".as_ref(), &PushOptions::default())?;
    /// println!("{}", pushed.url);
    /// # Ok::<(), cogview4_hub::HubError>(())
    /// ```
    ///
    /// # Errors
    /// Without a token; a folder without such files, or one that is written to meanwhile; a card that the Hub refuses;
    /// a token that may not do this; a Hub or storage that fails again and again.
    pub fn push(&self, id: &RepoId, folder: &Path, options: &PushOptions<'_>) -> Result<Pushed> {
        let repo = Repo::model(id.clone());
        self.check_usable(Subject::Repo(&repo))?;
        self.check_token()?;
        let files = collect(folder, options.choose)?;
        let push = Push { hub: self, repo: &repo };
        // Where a file changed, what failed did so for that.
        push.run(&files, options).map_err(|error| files.iter().find_map(|file| file.check().err()).unwrap_or(error))
    }
}

/// A push to one repository.
#[derive(Debug, Clone, Copy)]
struct Push<'a> {
    hub: &'a Hub,
    repo: &'a Repo,
}

/// A file that the repository does not have yet.
#[derive(Debug)]
enum Wanted<'a> {
    Regular(&'a LocalFile),
    Large(Object<'a>),
}

impl Push<'_> {
    fn run(&self, files: &[LocalFile], options: &PushOptions<'_>) -> Result<Pushed> {
        if let Some(card) = files.iter().find(|file| file.path == "README.md") {
            card::check(self.hub, card)?;
        }
        let is_new = self.create(options.private)?;
        let (wanted, mut reused) = self.compare(files)?;
        let objects: Vec<&Object<'_>> = wanted
            .iter()
            .filter_map(|wanted| match wanted {
                Wanted::Large(object) => Some(object),
                Wanted::Regular(_) => None,
            })
            .collect();
        let known = self.upload(&objects)?;
        reused += known;
        let stale = if is_new { Vec::new() } else { self.stale(files, options.replace)? };
        let url = format!("{}/{}", self.hub.endpoint(), self.repo.url_path());
        let mut pushed = Pushed { url, commit: None, uploaded: wanted.len() - known, reused };
        if wanted.is_empty() && stale.is_empty() {
            self.hub.progress().note(&format!("{}: has all of these files already, nothing to commit", self.repo));
            return Ok(pushed);
        }
        for file in files {
            file.check()?;
        }
        let commit = Commit { message: options.message, wanted: &wanted, stale: &stale };
        pushed.commit = Some(commit.send(self)?);
        Ok(pushed)
    }

    /// Makes the repository; tells whether it was not there.
    fn create(&self, private: bool) -> Result<bool> {
        let id = &self.repo.id;
        let mut wanted = json!({"name": id.name(), "organization": id.owner(), "type": "model"});
        if private {
            // What else it is, the owner's settings say.
            wanted["private"] = true.into();
        }
        let what = format!("making the repository {id}");
        let http = self.hub.http();
        let body = wanted.to_string();
        let request = crate::http::Request::post("/api/repos/create", Subject::Other(&what))
            .header("Content-Type", "application/json")
            .body(crate::http::Body::Bytes(body.as_bytes()));
        match http.send_accepting(&request, &[409]) {
            Ok(answer) if answer.status != 409 => return Ok(true),
            Ok(_) => {}
            // A token may be for one repository that is there.
            Err(error @ HubError::Forbidden { .. }) => {
                if self.info().is_err() {
                    return Err(error);
                }
            }
            Err(error) => return Err(error),
        }
        if private && self.info()?["private"] != true {
            let reason = "is there already and is public: make it private on its page first, or push to another name";
            return Err(HubError::BadSetting { name: id.to_string(), reason: reason.into() });
        }
        Ok(false)
    }

    fn info(&self) -> Result<Value> {
        self.hub.http().get_json(&self.repo.api_path(), Subject::Repo(self.repo))
    }

    /// What the repository does not have, and how many files it has.
    fn compare<'a>(&self, files: &'a [LocalFile]) -> Result<(Vec<Wanted<'a>>, usize)> {
        let (mut wanted, mut same) = (Vec::new(), 0);
        let subject = Subject::Repo(self.repo);
        for files in files.chunks(AT_A_TIME) {
            let described = files.iter().map(LocalFile::describe).collect::<Result<Vec<_>>>()?;
            let url = format!("{}/preupload/{BRANCH}", self.repo.api_path());
            let answer = self.hub.http().post_json(&url, subject, &json!({ "files": described }))?;
            for file in files {
                let said = answer["files"].as_array().into_iter().flatten().find(|said| said["path"] == file.path);
                let said = said.ok_or_else(|| self.not_a_hub(format!("it says nothing of {}", file.path)))?;
                if said["shouldIgnore"] == true {
                    let note = format!("{}: left out, as .gitignore of {} says", file.path, self.repo);
                    self.hub.progress().note(&note);
                    continue;
                }
                let (entry, oid) = match said["uploadMode"].as_str() {
                    // Storage takes nothing that is empty.
                    Some("lfs") if file.size() > 0 => {
                        let oid = file.sha256(self.hub)?;
                        (Wanted::Large(Object { file, oid: oid.clone() }), oid)
                    }
                    Some("lfs" | "regular") => (Wanted::Regular(file), file.git_sha1()?),
                    _ => return Err(self.not_a_hub(format!("no uploadMode for {}", file.path))),
                };
                if said["oid"] == oid { same += 1 } else { wanted.push(entry) }
            }
        }
        Ok((wanted, same))
    }

    /// Files of the repository that what is pushed replaces under other names.
    fn stale(&self, files: &[LocalFile], replace: &dyn Fn(&str) -> bool) -> Result<Vec<String>> {
        let remote = self.hub.list(self.repo)?.files.into_iter().map(|file| file.path);
        Ok(remote.filter(|path| replace(path) && !files.iter().any(|file| file.path == *path)).collect())
    }

    fn not_a_hub(&self, reason: String) -> HubError {
        let host = crate::http::shown(self.hub.endpoint());
        HubError::NotAHub { what: self.repo.to_string(), host, reason }
    }
}
