//! The formats that callers and model servers speak, as bytes in and bytes out: nothing here opens a connection, reads
//! a clock or uses anything else of ours.
//!
//! | module | what it does |
//! |---|---|
//! | [`json`] | JSON as it was written: ranges of the input in place of a parse that loses |
//! | [`splice`] | the body of a request, another model put in and every other byte kept |
//! | [`needs`] | what a request needs of a model: tools, images, a schema, its length |
//! | [`translate`] | requests, replies and streams of one dialect said in another |
//! | [`sse`] | events of a stream, however its bytes are split; a stream without the usage nobody asked for |
//! | [`watch`] | what a stream has come to: content, finish, error, usage, and where it may still be given up |
//! | [`usage`], [`bill`] | tokens of every dialect in one record, and its price in nano-USD |
//! | [`failure`] | what went wrong at a server, what to do about it, and how the caller is told |

pub mod bill;
#[cfg(test)]
mod corpus;
pub mod failure;
pub mod json;
pub mod needs;
pub mod splice;
pub mod sse;
pub mod translate;
pub mod usage;
pub mod watch;

/// A format on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// `POST /v1/chat/completions` of OpenAI and of the many that follow it.
    Chat,
    /// `POST /v1/completions`.
    Completions,
    /// `POST /v1/embeddings`.
    Embeddings,
    /// `POST /v1/responses` of OpenAI.
    Responses,
    /// `POST /v1/messages` of Anthropic.
    Messages,
    /// `POST /v1beta/models/M:generateContent` of Gemini.
    Gemini,
}
