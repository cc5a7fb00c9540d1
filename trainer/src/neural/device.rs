//! Which engine runs where.

#[cfg(feature = "bert")]
use super::bert::{BertRecipe, TrainableBert};
use super::cpu::CpuEngine;
use super::engine::Engine;
use super::network::{Network, Parameter};
use super::optim::AdamW;
use crate::method::{Device, FitError};

/// The engine of a device.
///
/// # Errors
/// If the device cannot be used; see [`probe`].
pub fn engine(
    device: Device,
    network: Network,
    parameters: Vec<Parameter>,
    optimizer: AdamW,
) -> Result<Box<dyn Engine>, FitError> {
    probe(device)?;
    match device {
        Device::Cpu => Ok(Box::new(CpuEngine::new(network, parameters, optimizer))),
        #[cfg(feature = "burn")]
        Device::BurnFlex => Ok(on::<burn_flex::Flex>(network, parameters, optimizer)),
        #[cfg(feature = "burn")]
        Device::BurnNdarray => Ok(on::<burn_ndarray::NdArray>(network, parameters, optimizer)),
        #[cfg(not(feature = "burn"))]
        Device::BurnFlex | Device::BurnNdarray => Err(without_burn(device)),
        Device::Cuda => cuda::engine(network, parameters, optimizer),
    }
}

/// The engine in burn on a backend's default device.
#[cfg(any(feature = "burn", feature = "cuda"))]
fn on<B: burn_tensor::backend::Backend>(
    network: Network,
    parameters: Vec<Parameter>,
    optimizer: AdamW,
) -> Box<dyn Engine>
where
    super::autodiff::AutodiffEngine<burn_autodiff::Autodiff<B>>: Engine + 'static,
    burn_autodiff::Autodiff<B>: burn_tensor::backend::AutodiffBackend<Device = B::Device>,
{
    use super::autodiff::AutodiffEngine;
    let engine = AutodiffEngine::<burn_autodiff::Autodiff<B>>::new(
        network,
        parameters,
        optimizer,
        B::Device::default(),
    );
    Box::new(engine)
}

/// A sentence encoder in training on a device.
///
/// # Errors
/// If the device cannot be used.
#[cfg(feature = "bert")]
pub(super) fn bert(device: Device, recipe: &BertRecipe) -> Result<Box<dyn TrainableBert + '_>, FitError> {
    use burn_autodiff::Autodiff;
    probe(device)?;
    match device {
        Device::Cpu | Device::BurnFlex => {
            Ok(Box::new(recipe.start_on::<Autodiff<burn_flex::Flex>>(Default::default())))
        }
        #[cfg(feature = "burn")]
        Device::BurnNdarray => {
            Ok(Box::new(recipe.start_on::<Autodiff<burn_ndarray::NdArray>>(Default::default())))
        }
        #[cfg(not(feature = "burn"))]
        Device::BurnNdarray => Err(without_burn(device)),
        #[cfg(feature = "cuda")]
        Device::Cuda => Ok(Box::new(recipe.start_on::<Autodiff<burn_cuda::Cuda>>(Default::default()))),
        #[cfg(not(feature = "cuda"))]
        Device::Cuda => Err(unusable("this build has no CUDA support".to_owned())),
    }
}

/// Whether a device can be used at all, asked before anything is trained.
///
/// # Errors
/// If this build has no support for it, or the machine has no usable driver or device; one line.
pub fn probe(device: Device) -> Result<(), FitError> {
    match device {
        Device::Cpu => Ok(()),
        #[cfg(feature = "burn")]
        Device::BurnFlex | Device::BurnNdarray => Ok(()),
        #[cfg(not(feature = "burn"))]
        Device::BurnFlex | Device::BurnNdarray => Err(without_burn(device)),
        Device::Cuda => cuda::probe(),
    }
}

#[cfg(not(feature = "burn"))]
fn without_burn(device: Device) -> FitError {
    let device = if device == Device::BurnFlex { "burn-flex" } else { "burn-ndarray" };
    let reason = "this build has no burn; build with `--features burn`, or use the engine `native`";
    FitError::Device { device, reason: reason.to_owned() }
}

fn unusable(reason: String) -> FitError {
    FitError::Device { device: "cuda", reason }
}

#[cfg(not(feature = "cuda"))]
mod cuda {
    use super::*;

    pub(super) fn probe() -> Result<(), FitError> {
        let reason = "this build has no CUDA support; build with `--features cuda`, or use `cpu`";
        Err(unusable(reason.to_owned()))
    }

    pub(super) fn engine(_: Network, _: Vec<Parameter>, _: AdamW) -> Result<Box<dyn Engine>, FitError> {
        Err(unusable("this build has no CUDA support".to_owned()))
    }
}

#[cfg(feature = "cuda")]
mod cuda {
    use super::*;
    use burn_cuda::{Cuda, CudaDevice};
    use std::panic::{AssertUnwindSafe, catch_unwind};

    /// Driver, device, then a first product: burn panics where any of them is missing, so each is asked for
    /// before it is used and the last one under a guard.
    pub(super) fn probe() -> Result<(), FitError> {
        // cudarc panics when a library cannot be opened; these two ask first.
        #[expect(unsafe_code, reason = "cudarc marks opening a shared library unsafe")]
        // SAFETY: only the system's own driver and compiler libraries are opened, and kept open.
        let (driver, compiler) =
            unsafe { (cudarc::driver::sys::is_culib_present(), cudarc::nvrtc::sys::is_culib_present()) };
        if !driver {
            return Err(unusable("no NVIDIA driver was found (libcuda cannot be opened)".to_owned()));
        }
        if !compiler {
            return Err(unusable("no NVRTC library was found; install the CUDA runtime".to_owned()));
        }
        match cudarc::driver::result::init().and_then(|()| cudarc::driver::result::device::get_count()) {
            Ok(0) => return Err(unusable("the driver reports no device".to_owned())),
            Ok(_) => {}
            Err(error) => return Err(unusable(format!("the driver does not start: {error}"))),
        }
        guarded(|| {
            let ones = burn_tensor::Tensor::<Cuda, 2>::ones([2, 2], &CudaDevice::default());
            ones.clone().matmul(ones).into_data();
        })
    }

    pub(super) fn engine(
        network: Network,
        parameters: Vec<Parameter>,
        optimizer: AdamW,
    ) -> Result<Box<dyn Engine>, FitError> {
        Ok(on::<Cuda>(network, parameters, optimizer))
    }

    /// Runs a computation that panics where the GPU is not usable, and says so in one line instead.
    fn guarded(compute: impl FnOnce()) -> Result<(), FitError> {
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(|_| {}));
        let outcome = catch_unwind(AssertUnwindSafe(compute));
        std::panic::set_hook(hook);
        outcome.map_err(|panic| {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("unknown reason");
            let line = text.lines().next().unwrap_or_default();
            unusable(format!("a first computation failed: {line}"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processor_always_works_and_a_missing_gpu_is_one_line() {
        assert!(probe(Device::Cpu).is_ok());
        if let Err(error) = probe(Device::Cuda) {
            let line = error.to_string();
            assert!(line.starts_with("cannot use device `cuda`: ") && !line.contains('\n'), "{line}");
        }
    }
}
