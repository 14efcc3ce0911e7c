//! The weights of a model in a file of the format safetensors (<https://huggingface.co/docs/safetensors>), as `f32`.

use ndarray::{Array1, Array2};
use safetensors::{Dtype, SafeTensors};

/// The tensors of a file. Their names may begin with `bert.`: files of larger models do that.
pub(super) struct Weights<'a> {
    tensors: SafeTensors<'a>,
    prefix: &'static str,
}

impl<'a> Weights<'a> {
    /// Reads the head of a file.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn parse(file: &'a [u8]) -> Result<Self, String> {
        let tensors = SafeTensors::deserialize(file).map_err(|error| error.to_string())?;
        let prefix = if tensors.names().iter().any(|name| name.starts_with("bert.")) { "bert." } else { "" };
        Ok(Self { tensors, prefix })
    }

    /// A matrix of so many rows and columns.
    ///
    /// # Errors
    /// It is missing, or of another shape or type.
    pub(super) fn matrix(&self, name: &str, shape: [usize; 2]) -> Result<Array2<f32>, String> {
        let numbers = self.numbers(name, &shape)?;
        Array2::from_shape_vec(shape, numbers).map_err(|error| error.to_string())
    }

    /// A vector of this length.
    ///
    /// # Errors
    /// It is missing, or of another length or type.
    pub(super) fn row(&self, name: &str, length: usize) -> Result<Array1<f32>, String> {
        self.numbers(name, &[length]).map(Array1::from)
    }

    fn numbers(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, String> {
        let name = format!("{}{name}", self.prefix);
        let tensor = self.tensors.tensor(&name).map_err(|_missing| format!("it has no {name}"))?;
        if tensor.shape() != shape {
            return Err(format!("{name} is {:?} and not {shape:?}", tensor.shape()));
        }
        let data = tensor.data();
        let halves = || data.as_chunks().0.iter().map(|bytes| u16::from_le_bytes(*bytes));
        let dtype = tensor.dtype();
        if dtype == Dtype::F32 {
            Ok(data.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
        } else if dtype == Dtype::F16 {
            Ok(halves().map(from_f16).collect())
        } else if dtype == Dtype::BF16 {
            Ok(halves().map(|half| f32::from_bits(u32::from(half) << 16)).collect())
        } else {
            Err(format!("{name} is of the type {dtype:?}; supported are F32, F16 and BF16"))
        }
    }
}

/// IEEE 754 binary16. Infinities become numbers: no model has any.
fn from_f16(half: u16) -> f32 {
    let (exponent, mantissa) = (half >> 10 & 0x1f, f32::from(half & 0x3ff));
    let magnitude = match exponent {
        0 => mantissa * 2f32.powi(-24),
        _ => (1024.0 + mantissa) * 2f32.powi(i32::from(exponent) - 25),
    };
    if half >> 15 == 1 { -magnitude } else { magnitude }
}

#[cfg(test)]
mod tests {
    use super::from_f16;

    #[test]
    fn half_precision_is_read() {
        let halves =
            [(0x3c00, 1.0), (0xc000, -2.0), (0x3555, 0.333_251_95), (0x0001, 5.960_464_5e-8), (0x7bff, 65504.0)];
        for (half, number) in halves {
            assert_eq!(from_f16(half).to_bits(), f32::to_bits(number));
        }
    }
}
