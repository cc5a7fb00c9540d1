//! What crosses HTTP as JSON, and nothing else does: bodies of requests, bodies of replies. The schemas of
//! `/openapi.json` are derived from these types.
//!
//! A doc comment of a type or field is its description there.

mod answers;
mod arms;
mod body;
mod budgets;
mod document;
mod error;
mod feedback;
mod fusion;
mod learning;
mod models;
mod parse;
mod policies;
mod registry;
mod route;
mod statistics;
mod status;
mod step;
mod weights;

pub(crate) use answers::{AnswerOfModel, EmbeddingsRequest};
pub(crate) use arms::{ArmBody, ArmsReply, ChangeArmsRequest, PolicyArms};
pub(crate) use body::{Body, Schemas, schemas};
pub(crate) use budgets::{BudgetBody, BudgetsReply};
pub(crate) use document::OpenApiDocument;
pub(crate) use error::{ErrorBody, ErrorObject};
pub(crate) use feedback::{FeedbackLine, FeedbackReply, FeedbackRequest};
pub(crate) use fusion::{
    Answering, Asked, ChatCompletion, ChatRequest, Completion, CompletionRequest, CompletionShape,
};
pub(crate) use learning::{DriftBody, KeySpendBody, LearningReply, PolicyLearning, ReporterBody, SpendBody};
pub(crate) use models::{AnthropicList, AnthropicModel, ModelBody, ModelKind, ModelList};
pub(crate) use parse::{parse, parse_value};
pub(crate) use policies::{PolicyBody, PolicyList, ReloadReply, ReloadRequest, ReloadedBody};
pub(crate) use registry::{
    PromoteRequest, RegistryReply, RegistrySlot, ShadowBody, SideBody, TrialBody, VersionBody,
};
pub(crate) use route::{
    ActionBody, BatchItem, BatchReply, BatchRequest, BatchSummary, CandidateBody, DecisionBody, EvidenceBody,
    ExplorationBody, FlipBody, NeighborBody, PlainChat, PlainMessages, PlainResponses, RouteRequest,
    SessionBody, TimingsBody, VersionOfPolicy,
};
pub(crate) use statistics::{MetricBody, ModelStatistics, PolicyStatistics, StatisticsReply};
pub(crate) use status::{Status, StoreStatus};
pub(crate) use step::{StepAction, StepBody, StepRequest};
pub(crate) use weights::{Weights, WeightsRequest};
