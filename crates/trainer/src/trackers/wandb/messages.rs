//! The protobuf messages of W&B's run files, as far as they are written here. Source: wandb 0.31.0,
//! `wandb_internal.proto`.

use prost::{Message, Oneof};

#[derive(Clone, PartialEq, Message)]
pub(super) struct Record {
    /// The first is 1.
    #[prost(int64, tag = "1")]
    pub(super) num: i64,
    #[prost(oneof = "What", tags = "2, 3, 6, 17, 18, 21")]
    pub(super) what: Option<What>,
}

#[derive(Clone, PartialEq, Oneof)]
pub(super) enum What {
    #[prost(message, tag = "2")]
    History(History),
    #[prost(message, tag = "3")]
    Summary(Items),
    #[prost(message, tag = "6")]
    Files(Files),
    #[prost(message, tag = "17")]
    Run(Run),
    #[prost(message, tag = "18")]
    Exit(Exit),
    #[prost(message, tag = "21")]
    Header(Header),
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Header {
    #[prost(message, optional, tag = "1")]
    pub(super) version: Option<Version>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Version {
    /// Who writes.
    #[prost(string, tag = "1")]
    pub(super) producer: String,
    /// The oldest W&B that reads it.
    #[prost(string, tag = "2")]
    pub(super) min_consumer: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Run {
    #[prost(string, tag = "1")]
    pub(super) run_id: String,
    #[prost(string, tag = "2")]
    pub(super) entity: String,
    #[prost(string, tag = "3")]
    pub(super) project: String,
    #[prost(message, optional, tag = "4")]
    pub(super) config: Option<Items>,
    #[prost(string, tag = "8")]
    pub(super) display_name: String,
    #[prost(string, repeated, tag = "10")]
    pub(super) tags: Vec<String>,
    #[prost(int64, tag = "14")]
    pub(super) starting_step: i64,
    #[prost(message, optional, tag = "17")]
    pub(super) start_time: Option<Timestamp>,
    #[prost(bool, tag = "18")]
    pub(super) resumed: bool,
}

/// `google.protobuf.Timestamp`, to the second.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Timestamp {
    #[prost(int64, tag = "1")]
    pub(super) seconds: i64,
}

/// `ConfigRecord` and `SummaryRecord`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Items {
    #[prost(message, repeated, tag = "1")]
    pub(super) update: Vec<Item>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct History {
    #[prost(message, repeated, tag = "1")]
    pub(super) item: Vec<Item>,
    #[prost(message, optional, tag = "2")]
    pub(super) step: Option<Step>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Step {
    #[prost(int64, tag = "1")]
    pub(super) num: i64,
}

/// A value with its name: that of objects within objects is a path.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Item {
    #[prost(string, repeated, tag = "2")]
    pub(super) nested_key: Vec<String>,
    #[prost(string, tag = "16")]
    pub(super) value_json: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Files {
    #[prost(message, repeated, tag = "1")]
    pub(super) files: Vec<FilesItem>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct FilesItem {
    /// In the run's `files`.
    #[prost(string, tag = "1")]
    pub(super) path: String,
    #[prost(int32, tag = "3")]
    pub(super) kind: i32,
}

impl FilesItem {
    pub(super) const MEDIA: i32 = 2;
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Exit {
    #[prost(int32, tag = "1")]
    pub(super) exit_code: i32,
    /// Seconds.
    #[prost(int32, tag = "2")]
    pub(super) runtime: i32,
}
