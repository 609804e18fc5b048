"""AWS Systems Manager Parameter Store, in two layouts."""
