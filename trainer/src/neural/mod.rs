//! Training of networks: losses, engines, optimisers, the loop, checkpoints.
//!
//! Two [`Engine`]s take the same steps. [`CpuEngine`] computes losses and gradients by hand and updates
//! the weights in one pass; it is what the processor runs. `AutodiffEngine` is written in burn, generic
//! over the backend; it runs on a GPU (feature `cuda`) and on two backends for the processor (feature `burn`), where it
//! is the reference the other one is tested against. All random choices of a step (which arms, which cluster mates) are
//! made beforehand, in [`Targets`], so that both engines see the same batch.
//!
//! This is the only module that names burn.

#[cfg(any(test, feature = "burn", feature = "bert", feature = "cuda"))]
mod autodiff;
mod bag;
#[cfg(feature = "bert")]
mod bert;
mod checkpoint;
mod cpu;
mod device;
mod engine;
mod epochs;
mod free;
mod judge;
mod language_model;
mod learner;
mod losses;
mod network;
mod optim;
mod product;
mod stack;
mod targets;
mod training;
mod two_phase;
mod wide;

#[cfg(any(test, feature = "burn", feature = "bert", feature = "cuda"))]
pub use autodiff::AutodiffEngine;
pub use bag::{BagRows, TrainableBag};
#[cfg(feature = "bert")]
pub use bert::{BertRecipe, TrainableBert};
pub use checkpoint::Checkpoint;
pub use cpu::CpuEngine;
pub use device::{engine, probe};
pub use engine::Engine;
pub use epochs::{Learner, Run, Sampler, Schedule, run};
pub use free::FreeParameters;
pub use judge::Judge;
pub use language_model::{LmBlock, LmRecipe, LmShape, LmTrainer, LmWeights, Text};
pub use learner::{Criterion, Encoder, MakeTargets, NetworkLearner, unpack};
pub use network::{HeadShape, LayerShape, Network, Parameter};
pub use optim::AdamW;
pub use stack::Stack;
pub use targets::{ClusterTargets, Contrast, ContrastTargets, Duel, ScoreLoss, Targets, Variant};
pub use training::Training;
pub use two_phase::{BagRecipe, Front, Recipe, Trained, fit};

#[cfg(test)]
mod tests;
