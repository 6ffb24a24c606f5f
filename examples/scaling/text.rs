//! The tables that are printed, in Markdown.

use super::{
    collective::Algorithm,
    hardware::{A100, Compute, H100, Machine},
    limits,
    model::{Batch, RELEASED},
    predict::{Job, Place},
};

/// The released model at what the reference says a card handles.
fn job(ranks: usize, samples: usize, micro_batches: usize, [resolution, text_tokens]: [usize; 2]) -> Job {
    Job {
        sizes: RELEASED,
        ranks,
        batch: Batch { samples, resolution, text_tokens },
        micro_batches,
        zero_stage: 2,
        algorithm: Algorithm::AllToAll,
        state: Place::Device,
        exchange: Place::Device,
    }
}

/// Machines, with cards, samples a card and micro-batches of each.
const RUNS: [(Machine, usize, usize, usize); 7] = [
    (A100, 8, 8, 1),
    (A100, 8, 8, 2),
    (A100, 16, 8, 1),
    (H100, 64, 2, 1),
    (H100, 64, 8, 1),
    (H100, 128, 1, 1),
    (H100, 1024, 8, 1),
];

/// A table of a headline and rows.
fn table(heads: &str, rows: impl IntoIterator<Item = String>) -> String {
    let line = "|---".repeat(heads.matches('|').count() - 1) + "|";
    let rows: Vec<String> = rows.into_iter().collect();
    format!("{heads}\n{line}\n{}", rows.join("\n"))
}

fn percent(part: f64) -> String {
    format!("{:.1} %", 100.0 * part)
}

fn hidden(part: Option<f64>) -> String {
    part.map_or("-".into(), percent)
}

/// All tables for pictures of this side and texts of so many tokens.
pub(crate) fn all(shape: [usize; 2]) -> String {
    let batch = Batch { samples: 1, resolution: shape[0], text_tokens: shape[1] };
    [
        format!(
            "CogView4-6B with 32 input channels: {} parameters, {} of each block; {}x{} pixels, {} tokens of text: \
             {:.1} TFLOP forward a sample",
            RELEASED.parameters(),
            RELEASED.block_parameters(),
            shape[0],
            shape[0],
            shape[1],
            RELEASED.forward_flops(batch) / 1e12,
        ),
        format!("Assumed\n\n{}", assumptions()),
        format!("A step of ZeRO-2, exchanged all-to-all between cards, state on the cards\n\n{}", steps(shape)),
        format!("The recommended global batch of 128 on more and more H100\n\n{}", strong_scaling(shape)),
        format!("Algorithms, 8 samples a card\n\n{}", algorithms(shape)),
        format!("Through the host, 8 A100-80, 8 samples a card\n\n{}", through_the_host(shape)),
        format!("Memory of a card, GB, 8 samples and 2 micro-batches\n\n{}", memory(shape)),
        format!("Where it ends\n\n{}", ends(shape)),
    ]
    .join("\n\n")
        + "\n"
}

fn assumptions() -> String {
    let rows = [A100, H100].map(|machine| {
        let Compute::Cards { peak, achieved, bandwidth, .. } = machine.compute else { return String::new() };
        format!(
            "| {} | {:.0} | {} | {:.1} | {:.0} | {:.0} | {:.1} | {:.0} | {:.0}, {:.0} |",
            machine.name,
            peak / 1e12,
            percent(achieved),
            bandwidth / 1e12,
            machine.near.bandwidth / 1e9,
            machine.far.bandwidth / 1e9,
            machine.host_link / 1e9,
            machine.host_bandwidth / 1e9,
            machine.near.latency * 1e6,
            machine.far.latency * 1e6,
        )
    });
    table(
        "| card | peak bf16, TFLOP/s | reached | memory, TB/s | NVLink, GB/s | network a card, GB/s \
         | host link, GB/s | host memory a node, GB/s | start of a message near, far, us |",
        rows,
    )
}

fn steps(shape: [usize; 2]) -> String {
    let rows = RUNS.map(|(machine, ranks, samples, micro_batches)| {
        let job = job(ranks, samples, micro_batches, shape);
        let predicted = job.predict(&machine);
        let step = predicted.step;
        let [gradients, weights] = step.not_waited_for().map(hidden);
        let name = machine.name;
        let cells = [
            job.global_batch().to_string(),
            format!("{:.2}", step.seconds),
            format!("{:.1}", predicted.samples_per_second),
            percent(predicted.mfu),
            format!("{:.2}", predicted.flops / 1e15),
            format!("{:.1}, {:.1}", predicted.sent / 1e9, predicted.sent_far / 1e9),
            format!("{}, {gradients}, {weights}", hidden(step.hidden())),
            percent((step.exchange_wait + step.gather_wait) / step.seconds),
        ];
        format!("| {ranks} x {name} | {samples} x {micro_batches} | {} |", cells.join(" | "))
    });
    table(
        "| cards | samples x micro-batches | global batch | step, s | samples/s | MFU | PFLOP a rank \
         | GB sent a rank, of it over the network | hidden: all, gradients, weights | step waited |",
        rows,
    )
}

fn strong_scaling(shape: [usize; 2]) -> String {
    let rows = [(8, 8, 2), (16, 8, 1), (32, 4, 1), (64, 2, 1), (128, 1, 1)].map(|(ranks, samples, micro_batches)| {
        let cells = [Algorithm::AllToAll, Algorithm::Hierarchical].map(|algorithm| {
            let predicted = Job { algorithm, ..job(ranks, samples, micro_batches, shape) }.predict(&H100);
            let [gradients, _] = predicted.step.not_waited_for().map(hidden);
            let (seconds, rate) = (predicted.step.seconds, predicted.samples_per_second);
            format!("{seconds:.2} | {rate:.1} | {} | {gradients}", percent(predicted.mfu))
        });
        format!("| {ranks} | {samples} x {micro_batches} | {} |", cells.join(" | "))
    });
    table(
        "| cards | samples x micro-batches | all-to-all: step, s | samples/s | MFU | gradients hidden \
         | hierarchical: step, s | samples/s | MFU | gradients hidden |",
        rows,
    )
}

fn algorithms(shape: [usize; 2]) -> String {
    let rows = [(A100, 8), (A100, 16), (H100, 64), (H100, 1024)].into_iter().flat_map(|(machine, ranks)| {
        Algorithm::ALL.map(|algorithm| {
            let job = Job { algorithm, ..job(ranks, 8, 1, shape) };
            let (costs, predicted) = (job.costs(&machine), job.predict(&machine));
            format!(
                "| {ranks} x {} | {} | {:.1} | {:.1} of {:.0} | {:.0} | {} | {:.3} |",
                machine.name,
                algorithm.name(),
                predicted.sent_far / 1e9,
                1e3 * costs.exchange.first().copied().unwrap_or_default(),
                1e3 * costs.backward.first().copied().unwrap_or_default(),
                1e3 * predicted.step.gather,
                hidden(predicted.step.hidden()),
                predicted.step.seconds,
            )
        })
    });
    table(
        "| cards | algorithm | GB over the network a rank | exchange of a block, ms, of its backward \
         | gathering of all weights, ms | hidden | step, s |",
        rows,
    )
}

fn through_the_host(shape: [usize; 2]) -> String {
    let ways = [
        ("on the card", "between cards", Place::Device, Place::Device),
        ("on the host", "between cards", Place::Host, Place::Device),
        ("on the card", "in the host's memory", Place::Device, Place::Host),
        ("on the host", "in the host's memory", Place::Host, Place::Host),
    ];
    let rows = ways.map(|(update, exchanged, state, exchange)| {
        let job = Job { state, exchange, ..job(8, 8, 1, shape) };
        let (costs, predicted) = (job.costs(&A100), job.predict(&A100));
        format!(
            "| {update} | {exchanged} | {:.2} | {:.0} | {} | {:.2} | {:.1} | {:.1} |",
            costs.update.iter().sum::<f64>(),
            1e3 * costs.exchange.first().copied().unwrap_or_default(),
            hidden(predicted.step.hidden()),
            predicted.step.seconds,
            predicted.memory.device() / 1e9,
            predicted.memory.host / 1e9,
        )
    });
    table(
        "| update | exchange | update, s | exchange of a block, ms | hidden | step, s | GB of a card \
         | GB of the host a rank |",
        rows,
    )
}

fn memory(shape: [usize; 2]) -> String {
    let ways = [(1, 2), (8, 0), (8, 1), (8, 2), (16, 2), (64, 2), (1024, 2)];
    let rows = ways.map(|(ranks, zero_stage)| {
        let job = Job { zero_stage, ..job(ranks, 8, 2, shape) };
        let held = job.predict(&A100).memory;
        let parts = [held.weights, held.gradients, held.state, held.units, held.activations, held.runtime];
        let parts = parts.map(|bytes| format!("{:.1}", bytes / 1e9)).join(" | ");
        let fits = if limits::most_samples(&job, &A100) >= 8 { "yes" } else { "no" };
        format!("| {ranks} | {zero_stage} | {parts} | {:.1} | {fits} |", held.device() / 1e9)
    });
    table(
        "| cards | ZeRO | weights, bf16 | sums, f32 | masters and moments | units on their way | activations \
         | runtime | all | 80 GB |",
        rows,
    )
}

fn ends(shape: [usize; 2]) -> String {
    let rows = [(A100, 8), (A100, 16), (H100, 64), (H100, 1024)].map(|(machine, ranks)| {
        let job = job(ranks, 8, 1, shape);
        let at = |resolution| {
            let batch = Batch { resolution, ..job.batch };
            limits::most_samples(&Job { batch, ..job }, &machine).to_string()
        };
        let most = [512, 1024, 2048].map(at).join(", ");
        let count = |number: Option<usize>| number.map_or("-".into(), |number| number.to_string());
        let network = if ranks > machine.ranks_per_node {
            format!("{:.1}", limits::slowest_network(&job, &machine) / 1e9)
        } else {
            "-".into()
        };
        format!(
            "| {ranks} x {} | {} | {} | {network} | {} | {} | {most} | {:.0} |",
            machine.name,
            count(limits::fewest_samples(&job, &machine)),
            count(limits::ranks_too_many(&job, &machine)),
            percent(limits::gathering(&job, &machine, Algorithm::AllToAll)),
            percent(limits::gathering(&job, &machine, Algorithm::Hierarchical)),
            limits::largest_model(&job, &machine) as f64 / 1e9,
        )
    });
    table(
        "| cards | samples a card from which exchanges hide | cards from which they no longer do, 8 samples \
         | slowest network, GB/s a card, 8 samples | step waited for weights, all-to-all | hierarchical \
         | samples that fit at 512, 1024, 2048 pixels | largest model, G parameters, 1 sample |",
        rows,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_has_a_cell_for_each_head() {
        let text = all([1024, 128]);
        let tables = text.split("\n\n").filter(|part| part.starts_with('|'));
        let mut count = 0;
        for lines in tables.map(|table| table.lines().collect::<Vec<_>>()) {
            let cells = |line: &str| line.matches('|').count();
            assert!(lines.iter().all(|line| cells(line) == cells(lines[0])), "{lines:#?}");
            count += 1;
        }
        assert_eq!(count, 7);
        assert!(!text.contains("NaN") && !text.contains("inf"), "{text}");
    }
}
