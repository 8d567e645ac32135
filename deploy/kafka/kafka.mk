# A local Kafka broker to play with (needs Java 17; Maven for the first run). Ctrl-C stops it.

KAFKA_PORT ?= 9092

.PHONY: kafka kafka-jars

kafka:  ## run a Kafka broker on 127.0.0.1:9092 (KAFKA_PORT=...), data in runs/kafka
	python3 deploy/kafka/broker.py --port $(KAFKA_PORT) --data runs/kafka

kafka-jars:  ## fetch the broker's jars with Maven, once
	python3 deploy/kafka/broker.py --jars
