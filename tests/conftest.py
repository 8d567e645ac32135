"""What tests share: services, each started when the first test asks for it, and commands."""

pytest_plugins = ["tests.postgres_server", "tests.kafka_broker", "tests.browser", "tests.commands"]
