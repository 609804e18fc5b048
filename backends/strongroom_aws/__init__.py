"""AWS Secrets Manager and the Parameter Store of Systems Manager, as stores of Strongroom."""
