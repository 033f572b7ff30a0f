#Requires -Version 7.0
<#
.SYNOPSIS
Does a worker do its work? Submits a lock file over REST, watches it, and reports.

.DESCRIPTION
Takes the stack at -Url or LOCKKEEPER_URL, or one that answers on 127.0.0.1:8000; else it starts
one, by scripts/run or with -Compose by Docker, and takes it away again. A stack that was found
wants a user's password, in LOCKKEEPER_PASSWORD or in .lockkeeper/credentials.json. On Windows,
-Compose wants an sh for scripts/init-env; scripts/run wants Linux.

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

$Repository = Split-Path -Parent $PSScriptRoot
$ComposeArguments = @("compose", "-p", "lockkeeper-test-worker", "-f", "docker-compose.base.yml")
$Local = "http://127.0.0.1:8000"
$NoPackages = '{"name": "nothing", "version": "1.0.0", "lockfileVersion": 3, "packages": {"": {}}}'
$Judged = @("", "policy", "human", "cancelled")
$Pause = 0.5
$Failed = 1
$WrongUsage = 2
$Unreachable = 3
$ExitCode = 0

function Say {
    param([string] $Step, [string] $Message)
    Write-Output "${Step}: $Message" | Out-Host
}

function Stop-Test {
    param([string] $Reason, [int] $Code = $Failed)
    $script:ExitCode = $Code
    throw $Reason
}

function Invoke-Api {
    param($Stack, [string] $Method, [string] $Path, [hashtable] $Content = @{})
    $Headers = @{ Accept = "application/json" }
    if ($Stack.Token) {
        $Headers["Authorization"] = "Bearer $($Stack.Token)"
    }
    $Asked = @{
        Uri = "$($Stack.Url)$Path"
        Method = $Method
        Headers = $Headers
        TimeoutSec = 30
        MaximumRedirection = 0
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

function Test-Answer {
    param($Stack)
    try {
        $Answer = Invoke-Api $Stack "GET" "/ready"
        return $null -ne $Answer.checks
    }
    catch {
        $script:ExitCode = 0
        return $false
    }
}

function Find-Stack {
    $Address = if ($Url) { $Url.TrimEnd("/") } else { $Local }
    $Found = @{ Url = $Address; UserName = $UserName; Password = ""; Token = "" }
    if (-not (Test-Answer $Found)) {
        if ($Url) {
            Stop-Test "nothing answers at $Url" $Unreachable
        }
        return $null
    }
    $Found.Password = "$env:LOCKKEEPER_PASSWORD"
    $Kept = Join-Path $Repository ".lockkeeper" "credentials.json"
    if (-not $Found.Password -and (Test-Path $Kept)) {
        $Account = (Get-Content -Raw $Kept | ConvertFrom-Json).user
        $Found.UserName = $Account.username
        $Found.Password = $Account.password
    }
    if (-not $Found.Password) {
        Stop-Test "LOCKKEEPER_PASSWORD is not set" $WrongUsage
    }
    Say "stack" "found $($Found.Url)"
    return $Found
}

function Start-Here {
    Say "stack" "starting one by scripts/run"
    $Name = "lockkeeper-test-" + [guid]::NewGuid().ToString("N")
    $script:Folder = (New-Item -ItemType Directory -Path (Join-Path ([IO.Path]::GetTempPath()) $Name)).FullName
    $Empty = Join-Path $Folder "nothing.json"
    Set-Content -Path $Empty -Value $NoPackages
    $Data = Join-Path $Folder "data"
    $Said = Join-Path $Folder "said"
    $Started = @{
        FilePath = Join-Path $Repository "scripts" "run"
        ArgumentList = @("--data", $Data, $Empty)
        RedirectStandardOutput = $Said
        RedirectStandardError = Join-Path $Folder "errors"
        PassThru = $true
    }
    $script:Process = Start-Process @Started
    Wait-For { (Select-String -Quiet -Path $Said -Pattern "Serving") -or $Process.HasExited }
    $Line = Select-String -Path $Said -Pattern "^URL +(\S+)"
    if (-not $Line) {
        $Last = Get-Content -Tail 1 (Join-Path $Folder "errors")
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
    if (-not $Process.HasExited) {
        & "/bin/kill" "-TERM" "$($Process.Id)"
    }
    $Process.WaitForExit()
    Remove-Item -Recurse -Force $Folder
    Say "clean up" "the stack is stopped"
}

function Start-Compose {
    Say "stack" "starting one by docker compose"
    Invoke-Program "sh" @("scripts/init-env") | Out-Null
    $script:Composed = $true
    Invoke-Program "docker" ($ComposeArguments + @("up", "-d")) | Out-Null
    $Stack = @{ Url = $Local; UserName = "test-worker"; Password = ""; Token = "" }
    Wait-For { Test-Answer $Stack }
    $Adding = @("exec", "-T", "api", "lockkeeper", "user", "add", "test-worker", "--json")
    $Added = Invoke-Program "docker" ($ComposeArguments + $Adding)
    $Stack.Password = ($Added | ConvertFrom-Json).password
    return $Stack
}

function Stop-Compose {
    Invoke-Program "docker" ($ComposeArguments + @("down", "--volumes")) | Out-Null
    Say "clean up" "the stack is stopped"
}

function Invoke-Program {
    param([string] $Program, [string[]] $Words)
    Push-Location $Repository
    try {
        $Answer = & $Program @Words
    }
    finally {
        Pop-Location
    }
    $Code = $LASTEXITCODE
    if ($Code -ne 0) {
        Stop-Test "$Program $Words ended with $Code" $Unreachable
    }
    return $Answer
}

function Wait-For {
    param([scriptblock] $Reached)
    $Deadline = (Get-Date).AddSeconds($Timeout)
    while (-not (& $Reached)) {
        if ((Get-Date) -gt $Deadline) {
            Stop-Test "not within $Timeout s" $Unreachable
        }
        Start-Sleep -Seconds $Pause
    }
}

function Connect-User {
    param($Stack)
    $Body = @{ username = $Stack.UserName; password = $Stack.Password } | ConvertTo-Json
    $Answer = Invoke-Api $Stack "POST" "/api/auth/login" @{
        Body = $Body
        ContentType = "application/json"
    }
    $Stack.Token = $Answer.token
    Say "sign in" "signed in as $($Stack.UserName)"
}

function Submit-Lock {
    param($Stack)
    $Form = @{ file = Get-Item $LockFile }
    $Answer = Invoke-Api $Stack "POST" "/api/packages/upload" @{ Form = $Form }
    $RequestId = $Answer.request_id
    $Packages = $Answer.packages
    Say "submit" "request ${RequestId}: $Packages packages queued"
    return $RequestId
}

function Watch-Request {
    param($Stack, $RequestId)
    $Deadline = (Get-Date).AddSeconds($Timeout)
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
        if ((Get-Date) -gt $Deadline) {
            Invoke-Api $Stack "POST" "/api/packages/requests/$RequestId/withdraw" | Out-Null
            Stop-Test "not vetted within $Timeout s: the request is withdrawn"
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
    foreach ($Group in ($Look.packages | Group-Object -Property status | Sort-Object -Property Name)) {
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

function Disconnect-User {
    param($Stack)
    Invoke-Api $Stack "POST" "/api/auth/logout" | Out-Null
    Say "clean up" "signed out"
}

function Test-Worker {
    param($Stack)
    Connect-User $Stack
    try {
        $RequestId = Submit-Lock $Stack
        $Look = Watch-Request $Stack $RequestId
        if ((Invoke-Retry $Stack $RequestId) -gt 0) {
            $Look = Watch-Request $Stack $RequestId
        }
        Write-Report $Look
    }
    finally {
        Disconnect-User $Stack
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
        if (-not (Test-Path -PathType Leaf $LockFile)) {
            Stop-Test "$LockFile is no file" $WrongUsage
        }
        $Stack = Find-Stack
        if ($null -eq $Stack) {
            $Stack = if ($Compose) { Start-Compose } else { Start-Here }
        }
        Test-Worker $Stack
    }
    finally {
        if ($Process) {
            Stop-Here
        }
        if ($Composed) {
            Stop-Compose
        }
    }
}
catch {
    $Reason = $_.Exception.Message
    Say "FAILED" "$Reason"
    exit [Math]::Max($ExitCode, 1)
}
Say "PASSED" "the worker does its work"
exit 0
