//! The Prometheus text format, version 0.0.4, made anew at each scrape from what was counted.
//!
//! Series by label, for a configuration with S services, E endpoints and T probed targets:
//!
//! | family | series at most |
//! |---|---|
//! | `meridian_queries_total` | 5 transports × 9 rcodes × 17 types; those never seen are left out |
//! | `meridian_connections` and its counters | 4 transports |
//! | `meridian_answers_total` | S × the pools of each × the regions of each pool |
//! | `meridian_adaptive_balance` | as many, for services with `balance = "adaptive"` |
//! | `meridian_region_demand`, `meridian_overflow_share` | S × the regions |
//! | `meridian_region_load`, `_target`, `_capacity` | the regions |
//! | `meridian_endpoint_verdict` | 4 × E |
//! | `meridian_endpoint_weight`, `meridian_endpoint_enabled`, `meridian_endpoint_share`, `meridian_endpoint_health_score` | E |
//! | `meridian_endpoint_load` | 5 × E; what is not known is left out |
//! | `meridian_probe_phase_seconds` | 4 × E; phases that the latest probe did not have are left out |
//! | `meridian_certificate_expiry_timestamp_seconds` | E; for probes that speak TLS |
//! | `meridian_breaker_state`, `meridian_breaker_transitions_total` | 3 × the endpoints of pools with breakers |
//! | `meridian_load_reports_total` | 3 sources × 12 outcomes |
//! | `meridian_probe_duration_seconds` | 15 × T |
//! | `meridian_probes_total` | 3 × T |
//! | `meridian_verdict_transitions_total` | T |
//! | `meridian_endpoints_held`, `meridian_endpoints_held_down`, `meridian_overrides` | 4, 2, 4 |
//! | `meridian_probe_lateness_seconds`, `meridian_verdict_delay_seconds` | 15 each |
//! | `meridian_zone_outdated` | the zones that are |
//!
//! No label's value comes from a client.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use prometheus::TextEncoder;
use prometheus::proto::{
    Bucket, Counter, Gauge, Histogram as HistogramSample, LabelPair, Metric, MetricFamily, MetricType,
};

use super::counters::LIMITED;
use super::{QTYPES, RCODES, WorkerCounters};
use crate::config::EndpointState;
use crate::dns::Transport;
use crate::health::breaker::State;
use crate::health::guard::Held;
use crate::health::overrides::{self, Overrides};
use crate::health::report::Source;
use crate::health::table::Counts;
use crate::health::{EndpointHealth, Found, Histogram, Hold, Observation, Punctuality, Rejection, Table, Verdict};
use crate::measurements;
use crate::routing::live::WHOLE;
use crate::server::counters::{ConnectionCounters, Counter as Counted, ServerCounters};
use crate::snapshot::{Compiled, Endpoint, Snapshot};
use crate::unix_time::unix_seconds_modulo;

/// The content type of what [`Scrape::text`] makes.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// All that is shown; nothing of it is written to.
#[derive(Debug)]
pub struct Scrape<'a> {
    /// What is served.
    pub snapshot: &'a Snapshot,
    /// The health of the same generation's targets.
    pub health: &'a Table,
    /// How long verdicts took to reach the answers.
    pub verdict_delays: Histogram,
    /// How well probes keep their schedule.
    pub punctuality: &'a Punctuality,
    /// The workers' counters.
    pub workers: &'a [Arc<WorkerCounters>],
    /// The sockets' counters.
    pub server: &'a ServerCounters,
    /// How reloads went.
    pub reloads: Reloads,
    /// What became of the measurements that arrived.
    pub measurements: measurements::Counts,
    /// What operators say.
    pub operators: Operators<'a>,
    /// Lines of the log that were dropped.
    pub dropped_log_lines: u64,
    /// When the process began to serve.
    pub started: SystemTime,
}

/// What operators say, and what of the state could not be kept.
#[derive(Debug, Clone, Copy)]
pub struct Operators<'a> {
    /// What they say now.
    pub overrides: &'a Overrides,
    /// How much that they said, and how often verdicts, could not be kept.
    pub not_kept: (u64, u64),
}

/// How reloads went.
#[derive(Debug, Clone, Copy, Default)]
pub struct Reloads {
    /// Those that were published whole.
    pub succeeded: u64,
    /// Those that were published but for broken zones.
    pub partial: u64,
    /// Those that left the old configuration serving.
    pub failed: u64,
    /// Whether what is on disk is not what is served, all of it or a zone.
    pub last_failed: bool,
}

impl Scrape<'_> {
    /// The text.
    ///
    /// # Errors
    /// None that is known: every family has a name and a sample.
    pub fn text(&self) -> prometheus::Result<String> {
        let mut families = Families::default();
        self.add_process(&mut families);
        self.add_queries(&mut families);
        self.add_limits(&mut families);
        self.add_answers(&mut families);
        self.add_load(&mut families);
        self.add_endpoints(&mut families);
        self.add_reports(&mut families);
        self.add_probes(&mut families);
        self.add_reloads(&mut families);
        self.add_measurements(&mut families);
        self.add_operators(&mut families);
        self.add_configuration(&mut families);
        self.add_server(&mut families);
        families.0
    }

    fn add_process(&self, families: &mut Families) {
        let version = labels([("version", env!("CARGO_PKG_VERSION"))]);
        families.gauges("meridian_build_info", "Always 1; the label tells the version that runs.", [(version, 1.0)]);
        families.gauge(
            "process_start_time_seconds",
            "When the process began to serve, in seconds since 1970.",
            seconds_since_1970(self.started),
        );
        families.counter(
            "meridian_log_lines_dropped_total",
            "Lines of the log that were lost, as whoever reads it did not keep up, or as they could not be written.",
            self.dropped_log_lines,
        );
        if let Some(bytes) = resident_bytes() {
            families.gauge(
                "process_resident_memory_bytes",
                "Memory that the process holds in RAM, in bytes.",
                bytes as f64,
            );
        }
    }

    fn add_queries(&self, families: &mut Families) {
        let mut queries = Vec::new();
        for transport in Transport::ALL {
            for (rcode, (_, rcode_name)) in RCODES.iter().enumerate() {
                for (qtype, (_, qtype_name)) in QTYPES.iter().enumerate() {
                    let count: u64 = self.workers.iter().map(|worker| worker.queries(transport, rcode, qtype)).sum();
                    if count > 0 {
                        let labels =
                            labels([("transport", transport.name()), ("type", qtype_name), ("rcode", rcode_name)]);
                        queries.push((labels, count as f64));
                    }
                }
            }
        }
        families.counters(
            "meridian_queries_total",
            "Queries answered, by transport, query type and response code. Types that are seldom asked for, and \
             requests whose type could not be read, are \"other\".",
            queries,
        );
        let sum = |of: fn(&WorkerCounters) -> u64| self.workers.iter().map(|worker| of(worker)).sum();
        families.counter(
            "meridian_dropped_messages_total",
            "Messages that got no answer: responses sent to us, and those shorter than a header.",
            sum(WorkerCounters::dropped),
        );
        families.counter(
            "meridian_truncated_responses_total",
            "Answers that did not fit and told the client to ask again over TCP.",
            sum(WorkerCounters::truncated),
        );
    }

    fn add_limits(&self, families: &mut Families) {
        let counts = LIMITED.iter().enumerate().map(|(place, (_, name))| {
            let count: u64 = self.workers.iter().map(|worker| worker.limited()[place]).sum();
            (labels([("outcome", name)]), count as f64)
        });
        families.counters(
            "meridian_rate_limited_responses_total",
            "Responses over UDP that were one too many for their client network: \"slipped\" ones were sent short, so \
             that an honest client asks again, \"dropped\" ones were not sent. With dry_run all were sent.",
            counts,
        );
    }

    fn add_answers(&self, families: &mut Families) {
        let compiled = &self.snapshot.compiled;
        let mut answers = Vec::new();
        let mut all_down = Vec::new();
        let mut adaptive = Vec::new();
        for (service, settings) in compiled.services.iter().zip(&compiled.config.services) {
            let name = settings.name.to_string();
            let groups = service.tiers.iter().flat_map(|tier| compiled.pools[tier.pool].groups.clone());
            for (group, tally) in groups.zip(&service.tallies) {
                let (pool, region) = place(compiled, group);
                let labels = labels([("service", name.as_str()), ("pool", pool), ("region", region)]);
                answers.push((labels, tally.sum() as f64));
            }
            for tier in &service.tiers {
                for (layout, group) in (tier.first_layout..).zip(compiled.pools[tier.pool].groups.clone()) {
                    let Some(controller) = self.snapshot.live.adaptive(layout) else { continue };
                    let (pool, region) = place(compiled, group);
                    let balance = controller.choice().balance().name();
                    let labels =
                        labels([("service", name.as_str()), ("pool", pool), ("region", region), ("balance", balance)]);
                    adaptive.push((labels, 1.0));
                }
            }
            all_down.push((labels([("service", name.as_str())]), service.all_down_tally.sum() as f64));
        }
        families.counters(
            "meridian_answers_total",
            "Answers that sent a client to a service's endpoints, by the pool and region that were chosen.",
            answers,
        );
        families.counters(
            "meridian_all_down_answers_total",
            "Answers given although no endpoint of the service was healthy: all that may serve (when_all_down = \
             \"serve-all\", failing open; these are in meridian_answers_total too) or the addresses of last resort. \
             While this grows, clients are sent to what is down.",
            all_down,
        );
        families.gauges(
            "meridian_adaptive_balance",
            "Always 1; the label `balance` tells what an adaptive service goes by now.",
            adaptive,
        );
    }

    /// What services that are steered by load make of regions; nothing where there are none.
    fn add_load(&self, families: &mut Families) {
        let compiled = &self.snapshot.compiled;
        let flows = self.snapshot.live.flows();
        let region = |index: u16| compiled.config.regions[usize::from(index)].name.as_str();
        let (mut demands, mut overflows) = (Vec::new(), Vec::new());
        for home in &flows.homes {
            let service = compiled.config.services[home.service].name.to_string();
            let own = [("service", service.as_str()), ("region", region(home.region))];
            demands.push((labels(own), home.demand));
            overflows.push((labels(own), home.overflow));
        }
        let (mut loads, mut targets, mut capacities) = (Vec::new(), Vec::new(), Vec::new());
        for room in flows.rooms.iter().filter(|room| room.endpoints.is_none()) {
            let own = [("region", region(room.region))];
            loads.push((labels(own), room.load));
            targets.push((labels(own), room.target));
            capacities.push((labels(own), room.capacity));
        }
        families.gauges(
            "meridian_region_demand",
            "Questions per second to services steered by load, of clients for whom the region is the first.",
            demands,
        );
        families.gauges(
            "meridian_overflow_share",
            "The part of these, 0 to 1, that is sent to other regions, as there is no room or the region can't serve.",
            overflows,
        );
        families.gauges(
            "meridian_region_load",
            "Answers per second that lead to the region, by the demand as it is known.",
            loads,
        );
        families.gauges(
            "meridian_region_target",
            "Answers per second past which the region's overflow goes elsewhere.",
            targets,
        );
        families.gauges("meridian_region_capacity", "Answers per second that the region can bear.", capacities);
        if !flows.rooms.is_empty() {
            families.gauge(
                "meridian_excess_load",
                "Answers per second past every capacity, which are divided by capacity. While this is above 0, regions are \
                 overloaded.",
                flows.excess,
            );
        }
    }

    fn add_endpoints(&self, families: &mut Families) {
        let compiled = &self.snapshot.compiled;
        let now = Instant::now();
        let mut all = Vec::with_capacity(compiled.endpoints.len());
        for (group, of) in (0..).zip(&compiled.groups) {
            let (pool, region) = place(compiled, group);
            for index in of.endpoints.clone() {
                let endpoint = &compiled.endpoints[index as usize];
                let known = self.health.endpoints().get(index);
                let found = known.map(|known| self.health.found(known, now));
                all.push(Shown {
                    pool,
                    region,
                    name: endpoint.destination.to_string(),
                    endpoint,
                    known: known.zip(found),
                });
            }
        }
        let known = || all.iter().filter_map(|shown| Some((shown, shown.known.as_ref()?)));
        let probed = || known().filter(|(_, (known, _))| !known.placed.inputs.is_empty());
        // Of the first probe, where there are several.
        let details = || {
            probed().filter_map(|(shown, (known, _))| {
                let (_, Observation { details, .. }) = self.health.targets_of(known).next()?.last.as_ref()?;
                Some((shown, details))
            })
        };
        let breakers = || {
            let broken = known().filter_map(|(shown, (known, _))| Some((shown, known.breaker()?)));
            broken.flat_map(|(shown, breaker)| State::ALL.map(|state| (shown, breaker, state)))
        };
        families.gauges(
            "meridian_endpoint_verdict",
            "1 for the verdict that the endpoint has, 0 for the others. \"unknown\" lasts until the first probe ends, \
             and serves as up. Endpoints of pools without a probe have none, and always serve.",
            probed().flat_map(|(shown, (known, _))| {
                Verdict::ALL.map(|verdict| (shown.with("verdict", verdict.name()), flag(known.verdict() == verdict)))
            }),
        );
        families.gauges(
            "meridian_endpoints_held",
            "Endpoints that serve although their probes say that they are down or their breakers aren't closed, by the limit in \
             [safety] that holds them, or \"unsure\" while the prober suspects itself.",
            Held::ALL.map(|reason| {
                let count = known().filter(|(_, (known, _))| known.held() == Some(reason)).count();
                (labels([("reason", reason.name())]), count as f64)
            }),
        );
        let (mut flapping, mut waiting) = (0_u32, 0_u32);
        for (_, (known, _)) in probed() {
            match self.health.hold(known, now) {
                Hold::None => {}
                Hold::For(_) => flapping += 1,
                Hold::UntilResumed => waiting += 1,
            }
        }
        families.gauges(
            "meridian_endpoints_held_down",
            "Endpoints that stay down though their probes may soon succeed: as they flap, by \"hold_down\", or until an operator \
             resumes them, by \"manual_resume\".",
            [("hold_down", flapping), ("manual_resume", waiting)].map(|(by, count)| (labels([("by", by)]), count.into())),
        );
        families.gauge(
            "meridian_prober_unsure",
            "1 while so much turned down at once that the prober holds that it is cut off itself, and takes nothing away.",
            flag(self.health.unsure_since().is_some()),
        );
        families.gauges(
            "meridian_endpoint_weight",
            "The endpoint's weight among those of its region; 0 is drained.",
            all.iter().map(|shown| (shown.labels(), f64::from(shown.endpoint.weight))),
        );
        families.gauges(
            "meridian_endpoint_enabled",
            "1 where configuration and operators let the endpoint serve, 0 where it is draining or disabled. Operators' words on \
             services are not in it.",
            all.iter().map(|shown| {
                let said = shown.known.as_ref().map(|(known, _)| *known.operators()).unwrap_or_default();
                let state = shown.endpoint.state_under(&said, unix_seconds_modulo());
                (shown.labels(), flag(state == EndpointState::Enabled))
            }),
        );
        families.gauges(
            "meridian_endpoint_health_score",
            "How well the endpoint's probes went of late, 0 to 1.",
            probed().map(|(shown, (_, found))| (shown.labels(), found.score.value())),
        );
        families.gauges(
            "meridian_endpoint_share",
            "The part of the endpoint's weight that counts now, 0 to 1: less where its probes fail now and then, while it \
             warms up, and while its circuit breaker is half-open; 0 while that is open.",
            known().map(|(shown, (known, found))| {
                (shown.labels(), f64::from(known.share(found, now, WHOLE)) / f64::from(WHOLE))
            }),
        );
        families.gauges(
            "meridian_endpoint_load",
            "What is known of the endpoint's load, as far as it is fresh; response_ms is what probes take where nothing \
             else is said.",
            known().flat_map(|(shown, (known, found))| {
                let load = known.load(found, now);
                let told: Vec<_> = load.values().collect();
                told.into_iter().map(|(measure, value)| (shown.with("measure", measure.name()), value))
            }),
        );
        families.gauges(
            "meridian_probe_phase_seconds",
            "How long the parts of the endpoint's latest probe took: \"resolve\", \"connect\", \"tls\" and \"first_byte\", \
             from the request to the head of its answer. Those that it did not have or did not come to the end of are \
             left out.",
            details().flat_map(|(shown, details)| {
                let phases = details.phases.named().into_iter();
                phases.filter_map(|(phase, time)| Some((shown.with("phase", phase), time?.as_secs_f64())))
            }),
        );
        families.gauges(
            "meridian_certificate_expiry_timestamp_seconds",
            "When the certificate expires that the endpoint showed to its latest probe, in seconds since 1970.",
            details().filter_map(|(shown, details)| Some((shown.labels(), details.certificate_expires? as f64))),
        );
        families.gauges(
            "meridian_breaker_state",
            "1 for the state that the endpoint's circuit breaker is in, 0 for the others.",
            breakers()
                .map(|(shown, breaker, state)| (shown.with("state", state.name()), flag(breaker.state() == state))),
        );
        families.counters(
            "meridian_breaker_transitions_total",
            "Changes of the endpoint's circuit breaker, by the state that it changed to.",
            breakers().map(|(shown, breaker, state)| {
                (shown.with("to", state.name()), breaker.transitions()[state as usize] as f64)
            }),
        );
    }

    fn add_reports(&self, families: &mut Families) {
        let mut reports = Vec::new();
        for source in Source::ALL {
            for outcome in [Ok(())].into_iter().chain(Rejection::ALL.map(Err)) {
                let name = outcome.err().map_or("accepted", Rejection::name);
                let count = self.health.reports().get(source, outcome);
                reports.push((labels([("source", source.name()), ("outcome", name)]), count as f64));
            }
        }
        families.counters(
            "meridian_load_reports_total",
            "Reports of load and of results: from the header or the body of answers to probes, or through the admin \
             interface. What is not \"accepted\" does not count; the log says more.",
            reports,
        );
    }

    fn add_probes(&self, families: &mut Families) {
        // What differs in headers or timing only is shown under one name, and a series may be there only once.
        let mut targets: BTreeMap<String, (Counts, Histogram)> = BTreeMap::new();
        for target in self.health.targets().iter() {
            let (counts, durations) = targets.entry(target.key.to_string()).or_default();
            counts.successes += target.counts.successes;
            counts.failures += target.counts.failures;
            counts.local_problems += target.counts.local_problems;
            counts.transitions += target.counts.transitions;
            durations.sum += target.durations.sum;
            for (sum, count) in durations.counts.iter_mut().zip(target.durations.counts) {
                *sum += count;
            }
        }
        let own = |name: &String| labels([("target", name)]);
        families.counters(
            "meridian_probes_total",
            "Probes that ended, by target and outcome. \"local\" ones could not be made by this machine (no \
             free descriptor or port, not permitted): they say nothing of the target, and change no verdict.",
            targets.iter().flat_map(|(name, (counts, _))| {
                let Counts { successes, failures, local_problems, .. } = counts;
                let outcomes = [("success", *successes), ("failure", *failures), ("local", *local_problems)];
                outcomes.map(|(outcome, count)| (labels([("target", name), ("outcome", outcome)]), count as f64))
            }),
        );
        families.counters(
            "meridian_verdict_transitions_total",
            "Changes of a target's verdict, the first one from unknown included.",
            targets.iter().map(|(name, (counts, _))| (own(name), counts.transitions as f64)),
        );
        families.add(
            MetricType::HISTOGRAM,
            "meridian_probe_duration_seconds",
            "How long probes took, failed ones included, from the resolution of the name to the verdict on the body.",
            targets.iter().map(|(name, (_, durations))| histogram_sample(own(name), durations)),
        );
        families.add(
            MetricType::HISTOGRAM,
            "meridian_probe_lateness_seconds",
            "How long after they were due probes began, for want of processor time or of room among those in flight.",
            [histogram_sample(Labels::new(), &self.punctuality.lateness.read())],
        );
        families.counter(
            "meridian_probes_missed_total",
            "Probes left out as the one before of the same target was still under way, or waited, when they were due.",
            self.punctuality.missed(),
        );
        families.gauge("meridian_probes_in_flight", "Probes under way.", self.punctuality.in_flight() as f64);
        families.add(
            MetricType::HISTOGRAM,
            "meridian_verdict_delay_seconds",
            "From the observation that made a verdict change to the publication of what followed from it: the next query \
             that is read is answered by it.",
            [histogram_sample(Labels::new(), &self.verdict_delays)],
        );
    }

    fn add_reloads(&self, families: &mut Families) {
        let Reloads { succeeded, partial, failed, last_failed } = self.reloads;
        let results = [("success", succeeded), ("partial", partial), ("failure", failed)];
        families.counters(
            "meridian_reloads_total",
            "Reloads of configuration, zones and databases, the first load not counted. A partial one took in all but \
             broken zones. A failed one leaves the old configuration serving.",
            results.map(|(result, count)| (labels([("result", result)]), count as f64)),
        );
        families.gauge(
            "meridian_last_reload_successful",
            "0 while what is on disk is not what is served, as the latest reload failed or left zones out; the log says why.",
            flag(!last_failed),
        );
        let outdated = &self.snapshot.compiled.outdated.zones;
        families.gauge(
            "meridian_zones_outdated",
            "Zones whose files are broken, so that older records are served, or none.",
            outdated.len() as f64,
        );
        families.gauges(
            "meridian_zone_outdated",
            "1 for each of these zones.",
            outdated.iter().map(|zone| (labels([("zone", &zone.name.to_string())]), 1.0)),
        );
        families.gauge(
            "meridian_snapshot_generation",
            "Grows with each publication to the workers: a reload, or a change of health that changes answers.",
            self.snapshot.generation as f64,
        );
    }

    fn add_measurements(&self, families: &mut Families) {
        let measurements::Counts { accepted, ignored, rejected } = self.measurements;
        let outcomes = [("accepted", accepted), ("ignored", ignored), ("rejected", rejected)];
        families.counters(
            "meridian_latency_measurements_total",
            "Round trips that arrived through the admin interface. Ignored ones are too old, not certain enough, or older \
             than what is known; rejected ones are bad.",
            outcomes.map(|(outcome, count)| (labels([("outcome", outcome)]), count as f64)),
        );
    }

    fn add_operators(&self, families: &mut Families) {
        let Operators { overrides, not_kept: (words, verdicts) } = self.operators;
        families.gauges(
            "meridian_overrides",
            "What operators say in place of probes and configuration, by word.",
            overrides::Word::ALL.map(|word| {
                let count = overrides.iter().filter(|said| said.word == word).count();
                (labels([("word", word.name())]), count as f64)
            }),
        );
        families.counters(
            "meridian_state_write_failures_total",
            "What could not be kept in state_dir: words of operators, which were refused for that, and verdicts.",
            [("overrides", words), ("verdicts", verdicts)]
                .map(|(file, count)| (labels([("file", file)]), count as f64)),
        );
    }

    fn add_configuration(&self, families: &mut Families) {
        let Compiled { config, database, endpoints, .. } = &*self.snapshot.compiled;
        let kind = || labels([("type", database.database_type())]);
        families.gauges(
            "meridian_database_build_timestamp_seconds",
            "When the location database was built, in seconds since 1970.",
            [(kind(), database.build_epoch() as f64)],
        );
        families.gauges(
            "meridian_database_networks",
            "Networks in the location database.",
            [(kind(), database.networks() as f64)],
        );
        for (name, help, count) in [
            ("meridian_zones", "Zones served.", config.zones.len()),
            ("meridian_services", "Services configured.", config.services.len()),
            ("meridian_pools", "Pools configured.", config.pools.len()),
            ("meridian_regions", "Regions configured.", config.regions.len()),
            ("meridian_endpoints", "Endpoints configured.", endpoints.len()),
        ] {
            families.gauge(name, help, count as f64);
        }
    }

    fn add_server(&self, families: &mut Families) {
        let server = self.server;
        for (name, help, counter) in [
            (
                "meridian_udp_receive_errors_total",
                "Calls to receive datagrams that failed.",
                &server.udp_receive_errors,
            ),
            (
                "meridian_udp_oversized_requests_total",
                "Requests over UDP that were longer than what is read of them.",
                &server.udp_truncated,
            ),
            (
                "meridian_udp_send_errors_total",
                "Answers over UDP that the kernel refused to send: no route, a firewall's rule, an address that is gone.",
                &server.udp_send_errors,
            ),
            (
                "meridian_udp_dropped_responses_total",
                "Answers over UDP that were lost because the socket's send queue was full.",
                &server.udp_dropped,
            ),
            (
                "meridian_quic_retries_total",
                "Clients that had to prove their address before a QUIC handshake, as many were under way.",
                &server.quic_retries,
            ),
            (
                "meridian_panics_total",
                "Defects that were caught: while answering, where each lost a batch of requests or a connection, or in the \
                 background, where the log says what it lost. Report them.",
                &server.panics,
            ),
        ] {
            families.counter(name, help, counter.get());
        }
        self.add_connections(families);
    }

    fn add_connections(&self, families: &mut Families) {
        let of = |transports: &[Transport], counter: fn(&ConnectionCounters) -> &Counted| -> Vec<_> {
            let value = |transport| counter(self.server.connections(transport)).get() as f64;
            let sample = |transport: &Transport| (labels([("transport", transport.name())]), value(*transport));
            transports.iter().map(sample).collect()
        };
        let encrypted = [Transport::Tls, Transport::Https, Transport::Quic];
        let all = [Transport::Tcp, Transport::Tls, Transport::Https, Transport::Quic];
        families.gauges(
            "meridian_connections",
            "Connections open now, those in handshake included.",
            of(&all, |connections| &connections.open),
        );
        families.counters(
            "meridian_connections_accepted_total",
            "Connections accepted.",
            of(&all, |connections| &connections.accepted),
        );
        families.counters(
            "meridian_accept_errors_total",
            "Calls to accept a connection that failed, mostly for lack of descriptors.",
            of(&all, |connections| &connections.accept_errors),
        );
        families.counters(
            "meridian_connections_refused_total",
            "QUIC connections refused because too many that have ended are still in memory.",
            of(&all, |connections| &connections.refused),
        );
        families.counters(
            "meridian_connections_evicted_total",
            "Connections closed to make room for a new one.",
            of(&all, |connections| &connections.evicted),
        );
        families.counters(
            "meridian_connections_timed_out_total",
            "Connections closed because a handshake, a query or the acceptance of a response took too long.",
            of(&all, |connections| &connections.timed_out),
        );
        families.counters(
            "meridian_handshake_failures_total",
            "TLS and QUIC handshakes that failed, but for those that took too long.",
            of(&encrypted, |connections| &connections.handshake_failures),
        );
    }
}

/// The names of a group's pool and region.
fn place(compiled: &Compiled, group: u32) -> (&str, &str) {
    let group = &compiled.groups[group as usize];
    (&compiled.config.pools[group.pool].name, &compiled.config.regions[usize::from(group.region)].name)
}

/// An endpoint and what is known of it.
struct Shown<'a> {
    pool: &'a str,
    region: &'a str,
    name: String,
    endpoint: &'a Endpoint,
    known: Option<(&'a EndpointHealth, Found)>,
}

impl Shown<'_> {
    fn labels(&self) -> Labels {
        labels([("pool", self.pool), ("region", self.region), ("endpoint", &self.name)])
    }

    /// And one more.
    fn with(&self, name: &str, value: &str) -> Labels {
        labels([("pool", self.pool), ("region", self.region), ("endpoint", &self.name), (name, value)])
    }
}

/// The text so far, or why it can't be made.
struct Families(prometheus::Result<String>);

/// Samples that are written at once. They take far more memory than their text.
const SAMPLES_AT_ONCE: usize = 1024;

impl Default for Families {
    fn default() -> Self {
        Self(Ok(String::new()))
    }
}

type Labels = Vec<LabelPair>;

impl Families {
    /// A family without a sample is left out, as the format has none.
    fn add(&mut self, kind: MetricType, name: &str, help: &str, samples: impl IntoIterator<Item = Metric>) {
        let mut samples = samples.into_iter();
        let mut part = String::new();
        while let Ok(text) = &mut self.0 {
            let is_first = part.is_empty();
            let metrics: Vec<Metric> = samples.by_ref().take(SAMPLES_AT_ONCE).collect();
            if metrics.is_empty() {
                return;
            }
            let mut family = MetricFamily::default();
            family.set_name(name.to_owned());
            family.set_help(help.to_owned());
            family.set_field_type(kind);
            family.set_metric(metrics);
            part.clear();
            if let Err(problem) = TextEncoder::new().encode_utf8(&[family], &mut part) {
                self.0 = Err(problem);
                return;
            }
            // Help and type stand once, before the first.
            let has_heading = |line: &&str| is_first || !line.starts_with('#');
            text.extend(part.split_inclusive('\n').filter(has_heading));
        }
    }

    fn counters(&mut self, name: &str, help: &str, values: impl IntoIterator<Item = (Labels, f64)>) {
        let sample = |(labels, value)| {
            let mut counter = Counter::default();
            counter.set_value(value);
            let mut metric = Metric::from_label(labels);
            metric.set_counter(counter);
            metric
        };
        self.add(MetricType::COUNTER, name, help, values.into_iter().map(sample));
    }

    fn gauges(&mut self, name: &str, help: &str, values: impl IntoIterator<Item = (Labels, f64)>) {
        let sample = |(labels, value)| {
            let mut gauge = Gauge::default();
            gauge.set_value(value);
            let mut metric = Metric::from_label(labels);
            metric.set_gauge(gauge);
            metric
        };
        self.add(MetricType::GAUGE, name, help, values.into_iter().map(sample));
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.counters(name, help, [(Labels::new(), value as f64)]);
    }

    fn gauge(&mut self, name: &str, help: &str, value: f64) {
        self.gauges(name, help, [(Labels::new(), value)]);
    }
}

fn labels<const N: usize>(pairs: [(&str, &str); N]) -> Labels {
    pairs
        .into_iter()
        .map(|(name, value)| {
            let mut pair = LabelPair::default();
            pair.set_name(name.to_owned());
            pair.set_value(value.to_owned());
            pair
        })
        .collect()
}

fn histogram_sample(labels: Labels, histogram: &Histogram) -> Metric {
    let mut cumulative = 0;
    let buckets = Histogram::BOUNDS.iter().zip(histogram.counts).map(|(bound, count)| {
        cumulative += count;
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(bound.as_secs_f64());
        bucket.set_cumulative_count(cumulative);
        bucket
    });
    let mut sample = HistogramSample::default();
    sample.set_bucket(buckets.collect());
    sample.set_sample_count(histogram.counts.iter().sum());
    sample.set_sample_sum(histogram.sum.as_secs_f64());
    let mut metric = Metric::from_label(labels);
    metric.set_histogram(sample);
    metric
}

fn flag(is_so: bool) -> f64 {
    if is_so { 1.0 } else { 0.0 }
}

fn seconds_since_1970(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs_f64()
}

/// What the kernel says, which counts in units of 1024 bytes.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use super::*;

    #[test]
    fn a_family_has_one_heading_however_many_samples() {
        for count in [0, 1, SAMPLES_AT_ONCE, 3 * SAMPLES_AT_ONCE + 1] {
            let mut families = Families::default();
            families.gauges("a", "Of # many.", (0..count).map(|index| (labels([("of", &index.to_string())]), 1.0)));
            let text = families.0.unwrap();
            let (heading, samples): (Vec<&str>, Vec<&str>) = text.lines().partition(|line| line.starts_with('#'));
            assert_eq!(samples.len(), count);
            let expected = if count == 0 { &[][..] } else { &["# HELP a Of # many.", "# TYPE a gauge"] };
            assert_eq!(heading, expected);
            assert!(samples.iter().zip(0..).all(|(line, index)| *line == format!("a{{of=\"{index}\"}} 1")));
        }
    }
}
