#Requires -Version 7.0
<#
.SYNOPSIS
Does a worker do its work? Submits a lock file over REST, watches it, and reports.

.DESCRIPTION
Takes the stack at -Url or LOCKKEEPER_URL, or one that is ready on 127.0.0.1:8000; else it starts
one, by scripts/run or with -Compose by Docker as .env says, and takes it away again. A stack that
was found wants a user's password: LOCKKEEPER_PASSWORD, or for one on this machine what scripts/run
keeps in .lockkeeper/credentials.json. What is interrupted is withdrawn, signed out and stopped. On
Windows, -Compose wants an sh for scripts/init-env; scripts/run wants Linux.

Exit codes: 0 passed; 1 failed; 2 wrong usage; 3 no stack is to be had. The steps and the output
are those of scripts/test_worker.py, which the tests run; of this file they check syntax and steps.
#>
param(
    [string] $LockFile = "",
    [string] $Url = "$env:LOCKKEEPER_URL",
    [string] $UserName = "user",
    [switch] $Compose,
    [double] $Timeout = 600
)

Set-StrictMode -Version Latest
$ErrorActionPreference = "Stop"
$PSNativeCommandUseErrorActionPreference = $false  # exit codes are looked at

$Repository = Split-Path -Parent $PSScriptRoot
$ComposeArguments = @("compose", "-p", "lockkeeper-test-worker", "-f", "docker-compose.base.yml")
$Local = "http://127.0.0.1:8000"
$NoPackages = '{"name": "nothing", "version": "1.0.0", "lockfileVersion": 3, "packages": {"": {}}}'
$Judged = @("", "policy", "human", "cancelled")
$Pause = 0.5
$Patience = 60
$Failed = 1
$WrongUsage = 2
$Unreachable = 3

function Say {
    param([string] $Step, [string] $Message)
    Write-Host "${Step}: $Message"
}

function Stop-Test {
    param([string] $Reason, [int] $Code = $Failed)
    $Failure = [Exception]::new($Reason)
    $Failure.Data["Code"] = $Code
    throw $Failure
}

function Invoke-Api {
    param($Stack, [string] $Method, [string] $Path, [hashtable] $Content = @{})
    if ($Stack.Token -and [DateTime]::UtcNow -gt $Stack.Until) {
        Connect-User $Stack
    }
    $Headers = @{ Accept = "application/json" }
    if ($Stack.Token) {
        $Headers["Authorization"] = "Bearer $($Stack.Token)"
    }
    $Asked = @{
        Uri = "$($Stack.Url)$Path"
        Method = $Method
        Headers = $Headers
        TimeoutSec = $Patience
        MaximumRedirection = 0
        NoProxy = $true
    }
    try {
        return Invoke-RestMethod @Asked @Content
    }
    catch [Microsoft.PowerShell.Commands.HttpResponseException] {
        $Status = [int] $_.Exception.Response.StatusCode
        $Detail = Read-Detail "$($_.ErrorDetails)"
        Stop-Test "$Method $Path answered ${Status}: $Detail"
    }
    catch {
        $Reason = $_.Exception.Message
        Stop-Test "${Method} ${Path}: $Reason" $Unreachable
    }
}

function Read-Detail {
    param([string] $Document)
    try {
        return ($Document | ConvertFrom-Json).detail
    }
    catch {
        return $Document
    }
}

function Get-Refusal {
    param($Stack)
    try {
        Invoke-Api $Stack "GET" "/ready" | Out-Null
        return ""
    }
    catch {
        return $_.Exception.Message
    }
}

function Find-Stack {
    $Address = if ($Url) { $Url.TrimEnd("/") } else { $Local }
    $Found = @{ Url = $Address; UserName = $UserName; Password = ""; Token = "" }
    $Refusal = Get-Refusal $Found
    if ($Refusal -and $Url) {
        Stop-Test "$Url is not ready: $Refusal" $Unreachable
    }
    if ($Refusal) {
        return $null
    }
    $Found.Password = "$env:LOCKKEEPER_PASSWORD"
    if (-not $Found.Password) {
        $Found.Password = Get-KeptPassword $Found
    }
    if (-not $Found.Password) {
        Stop-Test "LOCKKEEPER_PASSWORD is not set" $WrongUsage
    }
    Say "stack" "found $($Found.Url)"
    return $Found
}

function Get-KeptPassword {
    param($Stack)
    $Kept = Join-Path $Repository ".lockkeeper" "credentials.json"
    if (-not ([uri] $Stack.Url).IsLoopback -or -not (Test-Path -LiteralPath $Kept)) {
        return ""
    }
    $Accounts = Get-Content -Raw -LiteralPath $Kept | ConvertFrom-Json
    $Account = $Accounts.PSObject.Properties[$Stack.UserName]
    if ($null -eq $Account) {
        return ""
    }
    return $Account.Value.password
}

function Start-Here {
    Say "stack" "starting one by scripts/run"
    $Name = "lockkeeper-test-" + [guid]::NewGuid().ToString("N")
    $script:Folder = Join-Path ([IO.Path]::GetTempPath()) $Name
    New-Item -ItemType Directory -Path $Folder | Out-Null
    $Empty = Join-Path $Folder "nothing.json"
    Set-Content -LiteralPath $Empty -Value $NoPackages
    $Data = Join-Path $Folder "data"
    $Said = Join-Path $Folder "said"
    $Errors = Join-Path $Folder "errors"
    Set-Content -LiteralPath $Said, $Errors -Value ""
    Invoke-Program "chmod" @("711", $Folder) | Out-Null
    Invoke-Program "chmod" @("600", $Said, $Errors) | Out-Null
    $Started = @{
        FilePath = Join-Path $Repository "scripts" "run"
        ArgumentList = "--data `"$Data`" `"$Empty`""
        RedirectStandardOutput = $Said
        RedirectStandardError = $Errors
        PassThru = $true
    }
    $script:Process = Start-Process @Started
    Wait-For { (Select-String -Quiet -LiteralPath $Said -Pattern "Serving") -or $Process.HasExited }
    $Line = Select-String -LiteralPath $Said -Pattern "^URL +(\S+)"
    if (-not $Line) {
        $Last = Get-Content -Tail 1 -LiteralPath $Errors
        Stop-Test "scripts/run ended: $Last" $Unreachable
    }
    $Account = (Get-Content -Raw (Join-Path $Data "credentials.json") | ConvertFrom-Json).user
    return @{
        Url = $Line.Matches[0].Groups[1].Value
        UserName = $Account.username
        Password = $Account.password
        Token = ""
    }
}

function Stop-Here {
    Invoke-CleanUp "the stack is stopped" {
        if ($Process) {
            & sh -c "kill -TERM $($Process.Id) 2>/dev/null"
            $Process.WaitForExit()
        }
        Remove-Item -Recurse -Force -LiteralPath $Folder
    }
}

function Start-Compose {
    Say "stack" "starting one by docker compose"
    Invoke-Program "sh" @("scripts/init-env") | Out-Null
    $script:Composed = $true
    Invoke-Program "docker" ($ComposeArguments + @("up", "-d")) | Out-Null
    $Stack = @{ Url = $Local; UserName = "test-worker"; Password = ""; Token = "" }
    Wait-For { -not (Get-Refusal $Stack) }
    $Adding = @("exec", "-T", "api", "lockkeeper", "user", "add", "test-worker", "--json")
    $Added = Invoke-Program "docker" ($ComposeArguments + $Adding)
    $Stack.Password = ($Added | ConvertFrom-Json).password
    return $Stack
}

function Stop-Compose {
    Invoke-CleanUp "the stack is stopped" {
        Invoke-Program "docker" ($ComposeArguments + @("down", "--volumes"))
    }
}

function Invoke-Program {
    param([string] $Program, [string[]] $Words)
    if (-not (Get-Command -CommandType Application $Program -ErrorAction Ignore)) {
        Stop-Test "$Program is not installed" $Unreachable
    }
    Push-Location -LiteralPath $Repository
    try {
        $Answer = & $Program @Words
        $Code = $LASTEXITCODE
    }
    finally {
        Pop-Location
    }
    if ($Code -ne 0) {
        Stop-Test "$Program $Words ended with $Code" $Unreachable
    }
    return $Answer
}

function Invoke-CleanUp {
    param([string] $Message, [scriptblock] $Step)
    try {
        & $Step | Out-Null
    }
    catch {
        $Message = $_.Exception.Message
    }
    Say "clean up" "$Message"
}

function Wait-For {
    param([scriptblock] $Reached)
    $Clock = [Diagnostics.Stopwatch]::StartNew()
    while (-not (& $Reached)) {
        if ($Clock.Elapsed.TotalSeconds -gt $Timeout) {
            Stop-Test "not within $Timeout s" $Unreachable
        }
        Start-Sleep -Seconds $Pause
    }
}

function Connect-User {
    param($Stack)
    $Stack.Token = ""
    $Body = @{ username = $Stack.UserName; password = $Stack.Password } | ConvertTo-Json
    $Answer = Invoke-Api $Stack "POST" "/api/auth/login" @{
        Body = $Body
        ContentType = "application/json; charset=utf-8"
    }
    $Stack.Token = $Answer.token
    $Stack.Until = [DateTime]::UtcNow.AddSeconds($Answer.expires_in / 2)
    Say "sign in" "signed in as $($Stack.UserName)"
}

function Submit-Lock {
    param($Stack)
    $Form = @{ file = Get-Item -LiteralPath $LockFile }
    $Answer = Invoke-Api $Stack "POST" "/api/packages/upload" @{ Form = $Form }
    $RequestId = $Answer.request_id
    $Packages = $Answer.packages
    Say "submit" "request ${RequestId}: $Packages packages queued"
    return $RequestId
}

function Watch-Request {
    param($Stack, $RequestId)
    $Clock = [Diagnostics.Stopwatch]::StartNew()
    $Seen = -1
    while ($true) {
        $Look = Invoke-Api $Stack "GET" "/api/packages/requests/$RequestId/processing-status"
        $Completed = $Look.completed_packages
        $Total = $Look.total_packages
        if ($Completed -ne $Seen) {
            Say "watch" "$Completed of $Total packages vetted"
            $Seen = $Completed
        }
        if ($Completed -ge $Total) {
            return $Look
        }
        if ($Clock.Elapsed.TotalSeconds -gt $Timeout) {
            $Vetted = "$Completed of $Total packages vetted within $Timeout s"
            Stop-Test "${Vetted}: is a worker for them alive?"
        }
        Start-Sleep -Seconds $Pause
    }
}

function Invoke-Retry {
    param($Stack, $RequestId)
    $Answer = Invoke-Api $Stack "POST" "/api/packages/requests/$RequestId/retry" @{
        Body = "{}"
        ContentType = "application/json"
    }
    $Retried = $Answer.retried
    Say "retry" "$Retried packages queued again"
    return $Retried
}

function Write-Report {
    param($Look)
    $Groups = $Look.packages | Group-Object -Property status | Sort-Object -Property Name
    foreach ($Group in $Groups) {
        $Number = $Group.Count
        $Status = $Group.Name
        Say "report" "$Number $Status"
    }
    $Broken = @($Look.packages | Where-Object { $Judged -notcontains "$($_.failure)" })
    foreach ($Package in $Broken) {
        $Name = $Package.name
        $Version = $Package.version
        $Fault = $Package.error
        Say "report" "$Name $Version failed: $Fault"
    }
    if ($Broken.Count -gt 0) {
        $Number = $Broken.Count
        Stop-Test "$Number packages failed in processing"
    }
}

function Invoke-Vetting {
    param($Stack)
    $RequestId = Submit-Lock $Stack
    $Finished = $false
    try {
        $Look = Watch-Request $Stack $RequestId
        if ((Invoke-Retry $Stack $RequestId) -gt 0) {
            $Look = Watch-Request $Stack $RequestId
        }
        $Finished = $true
    }
    finally {
        if (-not $Finished) {
            Invoke-CleanUp "request $RequestId is withdrawn" {
                Invoke-Api $Stack "POST" "/api/packages/requests/$RequestId/withdraw"
            }
        }
    }
    return $Look
}

function Test-Worker {
    param($Stack)
    Connect-User $Stack
    try {
        Write-Report (Invoke-Vetting $Stack)
    }
    finally {
        Invoke-CleanUp "signed out" {
            Invoke-Api $Stack "POST" "/api/auth/logout"
        }
    }
}

if (-not $LockFile) {
    $LockFile = Join-Path $Repository "examples" "package-lock.json"
}
$Process = $null
$Folder = ""
$Composed = $false
try {
    try {
        if (-not (Test-Path -PathType Leaf -LiteralPath $LockFile)) {
            Stop-Test "$LockFile is no file" $WrongUsage
        }
        $Stack = Find-Stack
        if ($null -eq $Stack) {
            $Stack = if ($Compose) { Start-Compose } else { Start-Here }
        }
        Test-Worker $Stack
    }
    finally {
        if ($Folder) {
            Stop-Here
        }
        if ($Composed) {
            Stop-Compose
        }
    }
}
catch {
    $Reason = $_.Exception.Message
    $Code = $_.Exception.Data["Code"]
    Say "FAILED" "$Reason"
    exit $(if ($Code) { $Code } else { $Failed })
}
Say "PASSED" "the worker does its work"
exit 0
