//! [`Gpus`]: NVIDIA's GPUs, as far as their driver tells.

use nvml_wrapper::{Nvml, enum_wrappers::device::TemperatureSensor};

/// NVIDIA's GPUs. The driver's library is loaded when it is there, and nothing is told where it is not.
pub(super) struct Gpus(Option<Nvml>);

impl Gpus {
    pub(super) fn new() -> Self {
        Self(Nvml::init().inspect_err(|error| tracing::debug!(%error, "no GPU is watched")).ok())
    }

    pub(super) fn sample(&self, values: &mut Vec<(String, f64)>) {
        let Some(nvml) = &self.0 else { return };
        for index in 0..nvml.device_count().unwrap_or(0) {
            let Ok(device) = nvml.device_by_index(index) else { continue };
            // Not every GPU knows all of it.
            let mut add = |name: &str, value: Option<f64>| {
                value.into_iter().for_each(|value| values.push((format!("gpu.{index}.{name}"), value)));
            };
            let rates = device.utilization_rates().ok();
            add("gpu", rates.as_ref().map(|rates| rates.gpu.into()));
            add("memory", rates.as_ref().map(|rates| rates.memory.into()));
            let memory = device.memory_info().ok();
            add("memoryAllocated", memory.as_ref().map(|memory| 100.0 * memory.used as f64 / memory.total as f64));
            add("memoryAllocatedBytes", memory.as_ref().map(|memory| memory.used as f64));
            add("temp", device.temperature(TemperatureSensor::Gpu).ok().map(Into::into));
            // In thousandths of a watt.
            let power = device.power_usage().ok().map(|power| f64::from(power) / 1000.0);
            let limit = device.enforced_power_limit().ok().map(|power| f64::from(power) / 1000.0);
            add("powerWatts", power);
            add("powerPercent", power.zip(limit).map(|(power, limit)| 100.0 * power / limit));
        }
    }
}
