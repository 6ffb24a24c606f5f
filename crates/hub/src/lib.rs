//! Models and data sets by name: lists, downloads and uploads files of the Hugging Face Hub. The cache on the disk is
//! the one that Python's `huggingface_hub` keeps: what one of them downloaded, the other finds.
//!
//! Libraries take a [`Hub`] as an argument; programs make theirs with [`Hub::from_env`].
//!
//! ```no_run
//! use cogview4_hub::{Hub, Repo, Source};
//!
//! if let Source::Hub { id, revision } = Source::from("THUDM/CogView4-6B") {
//!     let repo = Repo::model(id).with_revision(revision);
//!     let folder = Hub::default().snapshot(&repo, |path| path.ends_with(".json"))?;
//!     println!("{}", folder.display());
//! }
//! # Ok::<(), cogview4_hub::HubError>(())
//! ```

mod cache;
mod download;
mod error;
mod fetch;
mod hub;
mod listing;
mod lock;
mod progress;
mod push;
mod repo;
mod settings;
mod source;
mod token;
mod verify;

pub mod choose;
pub mod http;

pub use error::{HubError, Result};
pub use hub::{Hub, Timeouts};
pub use listing::{Listing, RemoteFile};
pub use progress::{Progress, TerminalProgress};
pub use push::{PushOptions, Pushed};
pub use repo::{Repo, RepoId, RepoKind};
pub use settings::Settings;
pub use source::Source;
pub use token::Token;
