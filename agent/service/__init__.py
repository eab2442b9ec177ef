"""The service around capture and publisher: processes, control, health, metrics, logs."""
