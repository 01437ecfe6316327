"""The sampler: probes taken many times a second in processes of their own, outside and inside the cluster."""
