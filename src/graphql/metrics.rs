//! What is measured of operations.

use std::time::Duration;

use prometheus_client::metrics::{
    counter::Counter,
    family::Family,
    gauge::Gauge,
    histogram::{Histogram, exponential_buckets},
};

use crate::execution::{Code, OperationType};

/// Labels of a metric, each a name and a value.
type Labels<const N: usize> = [(&'static str, &'static str); N];

/// What is measured of operations. Clones share it.
#[derive(Clone)]
pub struct OperationMetrics {
    /// Operations that have ended, by `type` and `code`: `OK`, or that of the first error.
    pub operations: Family<Labels<2>, Counter>,
    /// Seconds until a query or a mutation was answered, by `type`.
    pub seconds: Family<Labels<1>, Histogram>,
    /// Subscriptions that go on, by `field`.
    pub subscriptions: Family<[(&'static str, String); 1], Gauge>,
}

impl Default for OperationMetrics {
    fn default() -> Self {
        // From a tenth of a millisecond to 6.5 seconds.
        let seconds = Family::<Labels<1>, Histogram>::new_with_constructor(|| {
            Histogram::new(exponential_buckets(0.0001, 2.0, 17))
        });
        Self { operations: Family::default(), seconds, subscriptions: Family::default() }
    }
}

impl OperationMetrics {
    /// Counts a query or a mutation that was answered.
    pub(super) fn count_answered(&self, operation: OperationType, code: Option<Code>, took: Duration) {
        self.count(operation.name(), code);
        self.seconds.get_or_create(&[("type", operation.name())]).observe(took.as_secs_f64());
    }

    /// Counts an operation that has ended; `none` is the type of a request in which there is no operation that could be run.
    pub(super) fn count(&self, operation_type: &'static str, code: Option<Code>) {
        let code = code.map_or("OK", Into::into);
        self.operations.get_or_create(&[("type", operation_type), ("code", code)]).inc();
    }

    /// Counts a subscription until what this gives is dropped.
    pub(super) fn subscribe(&self, field: &str) -> SubscriptionMetrics {
        let gauge = self.subscriptions.get_or_create_owned(&[("field", field.to_owned())]);
        gauge.inc();
        SubscriptionMetrics { metrics: self.clone(), gauge, code: None }
    }
}

/// A subscription that is counted as one that goes on.
pub(super) struct SubscriptionMetrics {
    metrics: OperationMetrics,
    gauge: Gauge,
    /// Of the error that it ends with.
    pub(super) code: Option<Code>,
}

impl Drop for SubscriptionMetrics {
    fn drop(&mut self) {
        self.gauge.dec();
        self.metrics.count(OperationType::Subscription.name(), self.code);
    }
}
