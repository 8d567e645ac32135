"""Services shared by the tests: each starts when the first test asks for it."""

pytest_plugins = ["tests.postgres_server", "tests.kafka_broker", "tests.browser"]
