"""Workers: one exchange thread and many task threads a process, and the supervisor above them."""
