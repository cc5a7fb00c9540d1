//! Why a server could not start or had to stop.

use crate::ledger::StoreError;
use crate::settings::ConfigError;
use crate::settings::keys::KeyError;
use routewright_policy::artifact::ArtifactError;

/// Why a server could not start or had to stop.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The configuration was refused.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The API keys could not be read.
    #[error(transparent)]
    Keys(#[from] KeyError),
    /// An artifact was refused.
    #[error("cannot serve `{path}`")]
    Policy {
        /// Directory of the artifact.
        path: String,
        /// Why.
        #[source]
        source: Box<ArtifactError>,
    },
    /// The name in a manifest cannot stand in labels and headers.
    #[error("cannot serve a policy named `{name}`, expected {expected}")]
    PolicyName {
        /// The name.
        name: String,
        /// What would be accepted.
        expected: &'static str,
    },
    /// A fused model was refused.
    #[error("cannot serve fused model `{name}`: {source}")]
    Fusion {
        /// Its name.
        name: String,
        /// Why.
        source: Box<routewright_decoder::ensemble::EnsembleError>,
    },
    /// A model cannot be called as its section says.
    #[error("cannot call model `{name}`: {reason}")]
    Model {
        /// Its name.
        name: String,
        /// Why.
        reason: String,
    },
    /// Two policies have one name.
    #[error("two policies are named `{name}`; give them names with sections [policies.NAME]")]
    DoubleName {
        /// The name.
        name: String,
    },
    /// A registry cannot be served.
    #[error("cannot serve the registry `{path}`: {reason}")]
    Registry {
        /// Its folder.
        path: String,
        /// Why.
        reason: String,
    },
    /// The default arm is no arm of its policy.
    #[error("the default arm `{arm}` is no arm of policy `{policy}`; {hint}")]
    DefaultArm {
        /// The policy.
        policy: String,
        /// The arm asked for.
        arm: String,
        /// Near names, or all of them.
        hint: String,
    },
    /// The default policy is not served.
    #[error("the default policy `{name}` is not served; {hint}")]
    DefaultPolicy {
        /// The policy asked for.
        name: String,
        /// Near names, or all of them.
        hint: String,
    },
    /// No worker could be started.
    #[error("cannot start the worker threads")]
    Threads(#[source] std::io::Error),
    /// A policy cannot learn as its section says.
    #[error("policy `{policy}` cannot learn: {reason}")]
    Learning {
        /// The policy.
        policy: String,
        /// Why.
        reason: String,
    },
    /// The settings of arms in the configuration do not fit the policy.
    #[error("policy `{policy}`: {reason}")]
    Arms {
        /// The policy.
        policy: String,
        /// Why.
        reason: String,
    },
    /// The store could not be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An address could not be listened on.
    #[error("cannot listen on `{address}`")]
    Listen {
        /// The address.
        address: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The admin listener would ask for no key.
    #[error("the admin listener has no key, expected `server.admin_key` or `server.admin_open`")]
    AdminWithoutKey,
    /// The admin listener is reachable from outside.
    #[error("the admin listener is bound to `{address}`, expected a loopback address")]
    AdminNotLoopback {
        /// The address.
        address: String,
    },
    /// The listener failed while serving.
    #[error("the server stopped serving")]
    Io(#[from] std::io::Error),
}
