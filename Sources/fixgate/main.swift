import ArgumentParser

FixgateCommand.main()
