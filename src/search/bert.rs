//! The forward pass of BERT (<https://arxiv.org/abs/1810.04805>): from the ids of tokens to one vector for each text, on the
//! thread of the caller. Texts lie end to end, so that nothing is padded.

use std::{
    f32::consts::{FRAC_1_SQRT_2, LN_2, LOG2_E},
    iter::zip,
};

use ndarray::{Array1, Array2, ArrayViewMut1, Axis, Slice, concatenate};
use serde::Deserialize;

use super::weights::Weights;

/// What `config.json` says of the sizes of a model.
#[derive(Deserialize)]
pub(super) struct Shape {
    pub(super) vocab_size: usize,
    pub(super) hidden_size: usize,
    pub(super) max_position_embeddings: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    intermediate_size: usize,
    layer_norm_eps: f32,
}

/// How the vectors of its tokens become that of a text.
#[derive(Clone, Copy)]
pub(super) enum Pooling {
    /// Their mean.
    Mean,
    /// That of the first one, `[CLS]`.
    First,
}

/// The weights of a model. All shapes were checked when it was read.
pub(super) struct Bert {
    words: Array2<f32>,
    /// The vector of the first sentence is added to each of them: there is no second one.
    positions: Array2<f32>,
    norm: Norm,
    layers: Vec<Layer>,
}

struct Layer {
    heads: usize,
    /// Queries, keys and values, side by side.
    attention: Dense,
    attention_output: Dense,
    attention_norm: Norm,
    intermediate: Dense,
    output: Dense,
    norm: Norm,
}

struct Dense {
    /// A column for each output.
    weights: Array2<f32>,
    bias: Array1<f32>,
}

struct Norm {
    weights: Array1<f32>,
    bias: Array1<f32>,
    epsilon: f32,
}

impl Bert {
    /// Takes the weights out of a file.
    ///
    /// # Errors
    /// What is missing or of another shape than `shape` says.
    pub(super) fn read(weights: &Weights<'_>, shape: &Shape) -> Result<Self, String> {
        let hidden = shape.hidden_size;
        if shape.num_attention_heads == 0 || !hidden.is_multiple_of(shape.num_attention_heads) {
            return Err(format!("{} heads cannot share {hidden} numbers", shape.num_attention_heads));
        }
        let mut positions =
            weights.matrix("embeddings.position_embeddings.weight", [shape.max_position_embeddings, hidden])?;
        let types = weights.matrix("embeddings.token_type_embeddings.weight", [2, hidden])?;
        positions += &types.row(0);
        Ok(Self {
            words: weights.matrix("embeddings.word_embeddings.weight", [shape.vocab_size, hidden])?,
            positions,
            norm: Norm::read(weights, "embeddings.LayerNorm", shape)?,
            layers: (0..shape.num_hidden_layers)
                .map(|number| Layer::read(weights, number, shape))
                .collect::<Result<_, _>>()?,
        })
    }

    /// A vector for each text, not of unit length. The ids are less than `vocab_size`, and no text has none or more than
    /// `max_position_embeddings`.
    pub(super) fn embed(&self, texts: &[Vec<u32>], pooling: Pooling) -> Vec<Vec<f32>> {
        let lengths: Vec<usize> = texts.iter().map(Vec::len).collect();
        let mut states = Array2::zeros((lengths.iter().sum(), self.words.ncols()));
        let tokens = texts.iter().flat_map(|text| text.iter().enumerate());
        for (mut state, (position, id)) in zip(states.rows_mut(), tokens) {
            state += &self.words.row(*id as usize);
            state += &self.positions.row(position);
        }
        self.norm.apply(&mut states);
        for layer in &self.layers {
            layer.apply(&mut states, &lengths);
        }
        let pooled = spans(&lengths).map(|span| {
            let text = states.slice_axis(Axis(0), span);
            match pooling {
                Pooling::Mean => text.mean_axis(Axis(0)).unwrap_or_default().to_vec(),
                Pooling::First => text.row(0).to_vec(),
            }
        });
        pooled.collect()
    }
}

impl Layer {
    fn read(weights: &Weights<'_>, number: usize, shape: &Shape) -> Result<Self, String> {
        let (hidden, wide) = (shape.hidden_size, shape.intermediate_size);
        let dense = |name: &str, inputs, outputs| {
            let name = format!("encoder.layer.{number}.{name}");
            let weights_of = weights.matrix(&format!("{name}.weight"), [outputs, inputs])?;
            Ok::<_, String>(Dense {
                weights: weights_of.t().as_standard_layout().into_owned(),
                bias: weights.row(&format!("{name}.bias"), outputs)?,
            })
        };
        let norm = |name: &str| Norm::read(weights, &format!("encoder.layer.{number}.{name}"), shape);
        let parts = ["query", "key", "value"].map(|name| dense(&format!("attention.self.{name}"), hidden, hidden));
        let [query, key, value] = parts;
        Ok(Self {
            heads: shape.num_attention_heads,
            attention: Dense::side_by_side(&[query?, key?, value?])?,
            attention_output: dense("attention.output.dense", hidden, hidden)?,
            attention_norm: norm("attention.output.LayerNorm")?,
            intermediate: dense("intermediate.dense", hidden, wide)?,
            output: dense("output.dense", wide, hidden)?,
            norm: norm("output.LayerNorm")?,
        })
    }

    fn apply(&self, states: &mut Array2<f32>, lengths: &[usize]) {
        *states += &self.attention_output.apply(&self.attend(states, lengths));
        self.attention_norm.apply(states);
        let mut wide = self.intermediate.apply(states);
        wide.mapv_inplace(gelu);
        *states += &self.output.apply(&wide);
        self.norm.apply(states);
    }

    /// What each token takes over from the others of its text.
    fn attend(&self, states: &Array2<f32>, lengths: &[usize]) -> Array2<f32> {
        let hidden = states.ncols();
        let size = hidden / self.heads;
        let attention = self.attention.apply(states);
        let mut taken = Array2::zeros(states.raw_dim());
        for span in spans(lengths) {
            let of_text = attention.slice_axis(Axis(0), span);
            let mut taken = taken.slice_axis_mut(Axis(0), span);
            for first in (0..hidden).step_by(size) {
                let columns = |part: usize| Slice::from(part * hidden + first..part * hidden + first + size);
                let [queries, keys, values] = [0, 1, 2].map(|part| of_text.slice_axis(Axis(1), columns(part)));
                let mut scores = queries.dot(&keys.t());
                scores.rows_mut().into_iter().for_each(|row| softmax(row, size));
                taken.slice_axis_mut(Axis(1), columns(0)).assign(&scores.dot(&values));
            }
        }
        taken
    }
}

impl Dense {
    fn side_by_side(parts: &[Self; 3]) -> Result<Self, String> {
        let [weights, bias] = [Axis(1), Axis(0)];
        let weights = concatenate(weights, &parts.each_ref().map(|part| part.weights.view()));
        let bias = concatenate(bias, &parts.each_ref().map(|part| part.bias.view()));
        Ok(Self {
            weights: weights.map_err(|error| error.to_string())?,
            bias: bias.map_err(|error| error.to_string())?,
        })
    }

    fn apply(&self, states: &Array2<f32>) -> Array2<f32> {
        states.dot(&self.weights) + &self.bias
    }
}

impl Norm {
    fn read(weights: &Weights<'_>, name: &str, shape: &Shape) -> Result<Self, String> {
        let row = |part| weights.row(&format!("{name}.{part}"), shape.hidden_size);
        Ok(Self { weights: row("weight")?, bias: row("bias")?, epsilon: shape.layer_norm_eps })
    }

    fn apply(&self, states: &mut Array2<f32>) {
        for mut state in states.rows_mut() {
            state -= state.mean().unwrap_or_default();
            let variance = state.dot(&state) / float(state.len());
            state *= (variance + self.epsilon).sqrt().recip();
            state *= &self.weights;
            state += &self.bias;
        }
    }
}

/// Where each text lies among the rows of all.
fn spans(lengths: &[usize]) -> impl Iterator<Item = Slice> {
    lengths.iter().scan(0, |end, length| {
        let start = *end;
        *end += length;
        Some(Slice::from(start..*end))
    })
}

/// Scores to shares of one, for heads of this size.
fn softmax(mut scores: ArrayViewMut1<'_, f32>, size: usize) {
    let scale = float(size).sqrt().recip();
    let greatest = scores.fold(f32::NEG_INFINITY, |one, other| one.max(*other));
    scores.mapv_inplace(|score| exp((score - greatest) * scale));
    let sum = scores.sum();
    scores /= sum;
}

/// `x * Phi(x)`, with the error function by Abramowitz and Stegun, 7.1.26: wrong by 0.000_000_2 at most.
fn gelu(x: f32) -> f32 {
    let z = (x * FRAC_1_SQRT_2).abs();
    let t = (1.0 + 0.327_591_1 * z).recip();
    let polynomial = t * (0.254_829_6 + t * (-0.284_496_74 + t * (1.421_413_7 + t * (-1.453_152 + t * 1.061_405_4))));
    let erf = (1.0 - polynomial * exp(-z * z)).copysign(x);
    0.5 * x * (1.0 + erf)
}

/// `e` to the power of `x`, which is 0 or less: wrong by a hundred-thousandth at most. Its form lets the compiler work on several
/// numbers at once.
fn exp(x: f32) -> f32 {
    // Added to a small number, this rounds it to a whole one, which is then in the lowest bits.
    const ROUNDING: f32 = 12_582_912.0;
    let x = x.max(-87.0);
    let rounded = x * LOG2_E + ROUNDING;
    let power = f32::from_bits((rounded.to_bits() << 23).wrapping_add(1.0f32.to_bits()));
    // At most half the logarithm of 2: five terms of the series do.
    let rest = x - (rounded - ROUNDING) * LN_2;
    let series = 1.0 / 120.0 + rest * (1.0 / 720.0);
    let series = 1.0 / 6.0 + rest * (1.0 / 24.0 + rest * series);
    power * (1.0 + rest * (1.0 + rest * (0.5 + rest * series)))
}

#[allow(clippy::cast_precision_loss, reason = "the width of a model, which f32 has exactly")]
fn float(size: usize) -> f32 {
    size as f32
}

#[cfg(test)]
mod tests {
    use super::{exp, gelu};

    #[test]
    fn functions_are_exact_enough() {
        for step in 0..8_700u16 {
            let x = -f32::from(step) / 100.0;
            assert!((exp(x) / x.exp() - 1.0).abs() < 1e-5, "{x}: {}", exp(x));
        }
        assert!(exp(-1e9) < 1e-37 && exp(f32::NEG_INFINITY) < 1e-37);
        // Of a table of the normal distribution.
        for (x, expected) in [(0.0, 0.0), (1.0, 0.841_345), (-1.0, -0.158_655), (2.0, 1.954_5), (-9.0, 0.0)] {
            assert!((gelu(x) - expected).abs() < 2e-6, "{x}: {}", gelu(x));
        }
    }
}
