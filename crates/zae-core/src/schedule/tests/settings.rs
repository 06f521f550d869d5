//! Settings that cannot be meant.

use crate::schedule::*;

fn said(schedule: &dyn Schedule) -> String {
    schedule.check().unwrap_err().to_string()
}

#[test]
fn a_setting_that_cannot_be_meant_is_named_with_one_that_can() {
    let rate = "give one that is finite and 0 or more";
    let divisor = "give one that is finite and above 0";
    let one = OneCycle::new(0.1);
    let cyclic = Cyclic::new(0.1, 0.2, 5);
    let linear = Linear::new(0.1, 0.0);
    let cases: Vec<(Box<dyn Schedule>, &str, &str)> = vec![
        (Box::new(-0.1), "the schedule has the learning rate -0.1", rate),
        (Box::new(f64::NAN), "the schedule has the learning rate NaN", rate),
        (Box::new(Cosine::new(f64::INFINITY)), "Cosine has the learning rate inf", rate),
        (Box::new(Cosine::new(0.1).min_lr(-1.0)), "Cosine has the min_lr -1", rate),
        (Box::new(Cosine::new(0.1).over(0)), "Cosine has the length 0", "give at least 1"),
        (Box::new(StepDecay::new(-0.1, 1, 0.5)), "StepDecay has the learning rate -0.1", rate),
        (Box::new(StepDecay::new(0.1, 0, 0.5)), "StepDecay has the number of steps 0", "give at least 1"),
        (Box::new(StepDecay::new(0.1, 1, -0.5)), "StepDecay has the gamma -0.5", rate),
        (Box::new(MultiStep::new(f64::NAN, [1], 0.5)), "MultiStep has the learning rate NaN", rate),
        (Box::new(MultiStep::new(0.1, [1], f64::NAN)), "MultiStep has the gamma NaN", rate),
        (Box::new(Exponential::new(-1.0, 0.5)), "Exponential has the learning rate -1", rate),
        (Box::new(Exponential::new(0.1, f64::INFINITY)), "Exponential has the gamma inf", rate),
        (Box::new(Linear::new(-0.1, 0.0)), "Linear has the first rate -0.1", rate),
        (Box::new(Linear::new(0.1, f64::NAN)), "Linear has the last rate NaN", rate),
        (Box::new(Polynomial::new(-0.1)), "Polynomial has the learning rate -0.1", rate),
        (Box::new(Polynomial::new(0.1).min_lr(f64::NAN)), "Polynomial has the min_lr NaN", rate),
        (Box::new(Polynomial::new(0.1).power(-1.0)), "Polynomial has the power -1", divisor),
        (Box::new(InverseSqrt::new(-0.1, 1)), "InverseSqrt has the learning rate -0.1", rate),
        (Box::new(InverseSqrt::new(0.1, 0)), "InverseSqrt has the timescale 0", "give at least 1"),
        (Box::new(OneCycle::new(-0.1)), "OneCycle has the learning rate -0.1", rate),
        (Box::new(one.pct_start(1.5)), "OneCycle has the pct_start 1.5", "give one between 0 and 1"),
        (Box::new(one.pct_start(f64::NAN)), "OneCycle has the pct_start NaN", "give one between 0 and 1"),
        (Box::new(one.three_phase().pct_start(0.6)), "OneCycle has the pct_start 0.6", "give one between 0 and 0.5"),
        (Box::new(one.div_factor(0.0)), "OneCycle has the div_factor 0", divisor),
        (Box::new(one.final_div_factor(f64::INFINITY)), "OneCycle has the final_div_factor inf", divisor),
        (Box::new(one.div_factor(1e-320)), "OneCycle has the first rate inf", rate),
        (Box::new(one.final_div_factor(1e-320)), "OneCycle has the last rate inf", rate),
        (Box::new(Cyclic::new(-0.1, 0.2, 5)), "Cyclic has the base rate -0.1", rate),
        (Box::new(Cyclic::new(0.1, f64::NAN, 5)), "Cyclic has the highest rate NaN", rate),
        (Box::new(Cyclic::new(0.1, 0.2, 0)), "Cyclic has the step size 0", "give at least 1"),
        (Box::new(cyclic.step_size_down(0)), "Cyclic has the step_size_down 0", "give at least 1"),
        (Box::new(cyclic.exp_range(1.1)), "Cyclic has the gamma 1.1", "give one between 0 and 1"),
        (Box::new(linear.restarts(0)), "`.restarts(..)` has the number of steps 0", "give at least 1"),
        (Box::new(linear.restarts(5).mult(0)), "`.restarts(..)` has the factor 0", "give at least 1"),
        (Box::new(linear.over(0)), "`.over(..)` has the length 0", "give at least 1"),
        (Box::new(0.1.cooldown(5).min_ratio(1.5)), "`.cooldown(..)` has the min_ratio 1.5", "between 0 and 1"),
        (Box::new(0.1.then(0, 0.2)), "`.then(0, ..)`", "give `.then(..)` steps that increase, from 1 on"),
        (
            Box::new(0.1.then(9, 0.2).then(9, 0.3)),
            "`.then(9, ..)` follows a schedule that begins at step 9",
            "increase",
        ),
        (
            Box::new(0.1.then(9, 0.2).then(5, 0.3)),
            "`.then(5, ..)` follows a schedule that begins at step 9",
            "increase",
        ),
        (Box::new(0.1.then(5, ReduceOnPlateau::new(0.1))), "reacts to validations", "around the whole schedule"),
        (Box::new(ReduceOnPlateau::new(0.1).factor(1.0)), "ReduceOnPlateau has the factor 1", "between 0 and 1"),
        (Box::new(ReduceOnPlateau::new(0.1).threshold(-1.0)), "ReduceOnPlateau has the threshold -1", rate),
        (Box::new(ReduceOnPlateau::new(0.1).min_lr(f64::NAN)), "ReduceOnPlateau has the min_lr NaN", rate),
    ];
    for (schedule, fault, mend) in cases {
        let said = said(&schedule);
        assert!(said.contains(fault) && said.contains(mend), "{said}");
    }
}

#[test]
fn a_setting_is_found_wherever_the_schedule_is() {
    let bad = || Linear::new(f64::NAN, 0.0);
    let around: [Box<dyn Schedule>; 10] = [
        Box::new(bad().warmup(5)),
        Box::new(bad().cooldown(5)),
        Box::new(bad().then(5, 0.1)),
        Box::new(0.1.then(5, bad())),
        Box::new(bad().times(0.1)),
        Box::new(0.1.times(bad())),
        Box::new(bad().restarts(5)),
        Box::new(bad().over(5)),
        Box::new(bad().per_epoch()),
        Box::new(ReduceOnPlateau::new(bad())),
    ];
    for schedule in around {
        assert!(said(&schedule).contains("Linear has the first rate NaN"));
    }
}

#[test]
fn a_schedule_has_one_length() {
    let (steps, epochs) = (|| Cosine::new(0.1), || Linear::new(1.0, 0.0).per_epoch());
    let mixed: [(Box<dyn Schedule>, &str); 3] = [
        (Box::new(steps().times(epochs())), "`.times(..)`"),
        (Box::new(epochs().then(5, steps())), "`.then(..)`"),
        (Box::new(epochs().cooldown(5)), "`.cooldown(..)`"),
    ];
    for (schedule, whose) in mixed {
        let said = said(&schedule);
        assert!(said.starts_with(whose) && said.contains("its own with `.over(n)`"), "{said}");
    }
    steps().times(epochs().over(3)).check().unwrap();
    steps().over(9).times(epochs()).check().unwrap();
    epochs().then(5, steps().over(9)).check().unwrap();
    epochs().over(3).cooldown(5).check().unwrap();
    steps().then(5, epochs()).check().unwrap();
}
