FixgateCommand.main()
