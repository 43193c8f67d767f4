//! Reads one counter from Prometheus' text format.

use crate::{BenchError, Target};

/// The sum of all samples of `metric`, given as `name`, or as `name{label="value"}` for those with that label;
/// `None` when there are none.
pub fn sum_samples(text: &str, metric: &str) -> Option<u64> {
    let (name, label) = metric.trim_end_matches('}').split_once('{').unwrap_or((metric, ""));
    let samples = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| {
        let (series, value) = line.rsplit_once(' ')?;
        let (found, labels) = series.split_once('{').unwrap_or((series, ""));
        (found == name && labels.contains(label)).then(|| value.parse::<f64>().ok()).flatten()
    });
    samples.fold(None, |sum: Option<f64>, value| Some(sum.unwrap_or_default() + value)).map(|sum| sum as u64)
}

/// Asks the server's `/metrics` for that sum; zero while the server has no sample of that name yet.
pub(crate) async fn read(target: &Target, metric: &str) -> Result<u64, BenchError> {
    let (status, body) = target.get("/metrics").await?;
    if status != 200 {
        return Err(BenchError::Refused { what: "GET /metrics", status, body });
    }
    Ok(sum_samples(&body, metric).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_add_up() {
        let text =
            "# TYPE done counter\ndone{status=\"delivered\"} 40\ndone{status=\"failed\"} 2\ndone_total 7\nbig 1.5e3\n";
        for (metric, sum) in [
            ("done", Some(42)),
            ("done{status=\"delivered\"}", Some(40)),
            ("done{status=\"sent\"}", None),
            ("done_total", Some(7)),
            ("big", Some(1500)),
            ("don", None),
        ] {
            assert_eq!(sum_samples(text, metric), sum, "{metric}");
        }
    }
}
