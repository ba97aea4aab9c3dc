from tests.resilience.schemas import write

write()
